// SPDX-License-Identifier: Apache-2.0
// tap and top: requests and connections as they end.
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <iostream>
#include <mutex>
#include <thread>

#include "base/fd.h"
#include "tools/output/document.h"
#include "tools/output/error_text.h"
#include "tools/output/table.h"
#include "tools/output/walk.h"
#include "tools/views/commands.h"
#include "tools/views/top_rows.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

std::string tap_line(const json::object& record, bool wide) {
  const auto outbound = text_at(record, {"direction"}) == "outbound";
  const auto time = text_at(record, {"time"});
  std::string out = (time.size() > 23 ? time.substr(11, 12) : time) + (outbound ? " out " : " in  ") +
                    text_at(record, {"namespace"}) + "/" + text_at(record, {"pod"}) +
                    (outbound ? " -> " : " <- ");
  const auto authority = text_at(record, {"authority"});
  const auto far = outbound
                       ? (authority.empty() ? text_at(record, {"original_dst"}) : authority)
                       : (text_at(record, {"peer_identity"}).empty() ? text_at(record, {"client"})
                                                                     : text_at(record, {"peer_identity"}));
  out += far + "  " + text_at(record, {"protocol"});
  const auto method = text_at(record, {"method"});
  if (!method.empty())
    out += " " + method + " " + text_at(record, {"path"}) + " " + text_at(record, {"status"});
  const auto* duration = record.if_contains("duration_us");
  if (duration && duration->is_number()) out += "  " + duration_text(duration->to_number<double>() / 1000);
  out += "  tls=" + text_at(record, {"tls"});
  if (const auto error = text_at(record, {"error"}); !error.empty()) out += "  error=" + error;
  if (wide) {
    out += "  client=" + text_at(record, {"client"}) + " endpoint=" + text_at(record, {"endpoint"}) +
           " in=" + text_at(record, {"bytes_in"}) + "B out=" + text_at(record, {"bytes_out"}) + "B";
  }
  return out;
}

// Readable after Ctrl-C, SIGTERM and SIGALRM, which are blocked from now on.
Fd end_of_watching() {
  sigset_t mask;
  sigemptyset(&mask);
  for (const int signal : {SIGINT, SIGTERM, SIGALRM}) sigaddset(&mask, signal);
  ::pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  return Fd(::signalfd(-1, &mask, SFD_CLOEXEC));
}

// Gives `take` the records of all nodes, one at a time, until it returns false or `stop` is readable. False:
// no node could be asked.
bool follow_taps(const std::vector<NodeView>& nodes, const Filter& filter, const std::string& query,
                 const Fd& stop, const std::function<bool(const json::object&)>& take) {
  std::mutex mutex;
  bool over = false;
  std::atomic<std::size_t> failed{0};
  const auto line = [&](const NodeView& node, std::string_view text) {
    boost::system::error_code malformed;
    const auto value = json::parse({text.data(), text.size()}, malformed);
    if (malformed || !value.is_object()) return true;
    const auto& record = value.get_object();
    const std::lock_guard lock(mutex);
    if (const auto* lost = record.if_contains("dropped")) {
      std::cerr << "heddle: node " << node.label() << ": " << json_text(*lost)
                << " more were not shown, they came too fast\n";
      return true;
    }
    if (!filter.takes(text_at(record, {"namespace"}), text_at(record, {"pod"}))) return true;
    if (over) return false;
    over = !take(record);
    // The others wait on their sockets: the signal descriptor wakes them all.
    if (over) ::kill(::getpid(), SIGTERM);
    return !over;
  };
  std::vector<std::thread> threads;
  for (const auto& node : nodes) {
    threads.emplace_back([&, node] {
      const auto done =
          !node.trouble.empty()
              ? Result<>(make_error(Errc::unavailable, node.trouble))
              : node.link->stream(AdminOf::proxy, "/tap" + (query.empty() ? "" : "?" + query), stop.get(),
                                  [&](std::string_view text) { return line(node, text); });
      if (done) return;
      std::cerr << "heddle: node " << node.label() << ": " << error_text(done.error()) << "\n";
      ++failed;
    });
  }
  for (auto& thread : threads) thread.join();
  return failed < nodes.size();
}

void print_record(const json::object& record, Output output) {
  if (output == Output::yaml) {
    std::cout << "---\n" << yaml_text(record) << std::flush;
  } else if (output == Output::json) {
    std::cout << json_text(record) << std::endl;
  } else {
    std::cout << tap_line(record, output == Output::wide) << std::endl;
  }
}

void print_top(const TopRows& top, std::size_t limit, double seconds, Output output) {
  const auto rows = top.rows(limit);
  if (is_document(output)) {
    json::array list;
    for (const auto& row : rows) {
      list.push_back(json::object{{"pod", row.src},
                                  {"direction", row.direction},
                                  {"peer", row.dst},
                                  {"protocol", row.protocol},
                                  {"method", row.method},
                                  {"path", row.path},
                                  {"count", row.count},
                                  {"failed", row.failed},
                                  {"best_ms", row.best_ms},
                                  {"worst_ms", row.worst_ms}});
    }
    std::cout << document_text(json::object{{"seconds", seconds}, {"rows", std::move(list)}}, output);
    return;
  }
  Table table({"POD", "", "PEER", "PROTOCOL", "METHOD", "PATH", ">COUNT", ">SUCCESS", ">BEST", ">WORST"});
  for (const auto& row : rows) {
    char success[16];
    std::snprintf(success, sizeof success, "%.1f%%",
                  100.0 * static_cast<double>(row.count - row.failed) / static_cast<double>(row.count));
    table.add({row.src, row.direction == "outbound" ? "->" : "<-", row.dst, row.protocol, row.method,
               row.path, std::to_string(row.count), success, duration_text(row.best_ms),
               duration_text(row.worst_ms)});
  }
  std::cout << (table.empty() ? "nothing ended meanwhile\n" : table.render());
  if (top.left_out() > 0)
    std::cerr << "heddle: " << top.left_out() << " requests of still other kinds are not shown\n";
}

}  // namespace

int show_tap(const View& view, const std::string& query, unsigned limit) {
  const auto nodes = nodes_in(view.scope);
  if (!nodes) return report(nodes.error());
  const auto filter = filter_of(view);
  if (!filter) return report(filter.error());
  const Fd stop = end_of_watching();
  unsigned printed = 0;
  const bool any = follow_taps(*nodes, *filter, query, stop, [&](const json::object& record) {
    print_record(record, view.output);
    ++printed;
    return printed != limit && std::cout.good();
  });
  return any ? 0 : 1;
}

int show_top(const View& view, const std::string& query, double window_s, unsigned limit) {
  const auto nodes = nodes_in(view.scope);
  if (!nodes) return report(nodes.error());
  const auto filter = filter_of(view);
  if (!filter) return report(filter.error());
  const Fd stop = end_of_watching();
  const auto whole = static_cast<time_t>(window_s);
  const itimerval alarm{{}, {whole, static_cast<suseconds_t>((window_s - static_cast<double>(whole)) * 1e6)}};
  ::setitimer(ITIMER_REAL, &alarm, nullptr);
  TopRows top;
  const bool any = follow_taps(*nodes, *filter, query, stop, [&](const json::object& record) {
    top.add(record);
    return true;
  });
  if (!any) return 1;
  print_top(top, limit, window_s, view.output);
  return 0;
}

}  // namespace heddle::tools
