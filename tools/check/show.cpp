// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <iostream>

#include "tools/check/checks.h"
#include "tools/check/codes.h"
#include "tools/output/document.h"
#include "tools/output/error_text.h"
#include "tools/output/table.h"
#include "tools/views/commands.h"

namespace heddle::tools {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds look_again{2};

void check_cluster(Verdicts& out, const View& view, bool before) {
  auto cluster = Cluster::open(view.scope.cluster);
  if (!cluster) return out.fail(check_code::api_server, "API server", error_text(cluster.error()));
  before ? check_cluster_before(out, *cluster) : check_installation(out, *cluster);
}

Verdicts look(const View& view, const CheckFlags& flags) {
  Verdicts out;
  const bool cluster = is_cluster(view.scope);
  if (cluster) check_cluster(out, view, flags.before);
  if (flags.before) {
    if (!cluster) check_machine(out);
    return out;
  }
  if (cluster && !out.good() && out.list().size() == 1)
    return out;  // nobody answers: nothing else to look at
  const auto nodes = nodes_in(view.scope);
  if (nodes) {
    check_nodes(out, *nodes);
  } else {
    out.fail(check_code::agent, "nodes", error_text(nodes.error()));
  }
  return out;
}

Verdicts only(const Verdicts& all, const std::vector<std::string>& codes) {
  if (codes.empty()) return all;
  Verdicts out;
  for (const auto& verdict : all.list()) {
    if (std::ranges::find(codes, verdict.code) != codes.end()) out.add(verdict);
  }
  return out;
}

// False: a signal came.
bool pause_until(Clock::time_point deadline) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGINT);
  sigaddset(&mask, SIGTERM);
  ::pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  const auto left = std::min<Clock::duration>(deadline - Clock::now(), look_again);
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
  const timespec pause{ns / 1'000'000'000, ns % 1'000'000'000};
  return ::sigtimedwait(&mask, nullptr, &pause) < 0;
}

boost::json::object document_of(const CheckCode& code) {
  return {{"code", code.code}, {"check", code.what}, {"hint", code.hint}};
}

}  // namespace

int show_check(const View& view, const CheckFlags& flags) {
  const auto deadline =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(flags.wait_s));
  Verdicts found = only(look(view, flags), flags.only);
  std::size_t told = 0;
  while (!found.good() && Clock::now() < deadline) {
    const auto failing = static_cast<std::size_t>(std::ranges::count_if(
        found.list(), [](const Verdict& v) { return v.level == Verdict::Level::failure; }));
    if (failing != told) std::cerr << "heddle: waiting, " << failing << " checks fail\n";
    told = failing;
    if (!pause_until(deadline)) break;
    found = only(look(view, flags), flags.only);
  }
  std::cout << found.render(view.output);
  return found.good() ? 0 : 1;
}

int explain_code(const std::string& code, Output output) {
  if (code.empty() && is_document(output)) {
    boost::json::array codes;
    for (const auto& known : check_codes()) codes.push_back(document_of(known));
    std::cout << document_text(boost::json::object{{"codes", std::move(codes)}}, output);
    return 0;
  }
  if (code.empty()) {
    Table table({"CODE", "CHECK", "WHAT TO DO"});
    for (const auto& known : check_codes()) {
      table.add({std::string(known.code), std::string(known.what), std::string(known.hint)});
    }
    std::cout << table.render();
    return 0;
  }
  const auto* known = find_check_code(code);
  if (!known) {
    return report(
        make_error(Errc::not_found, "there is no code " + code + ": `heddle explain-code` lists them"));
  }
  if (is_document(output)) {
    std::cout << document_text(document_of(*known), output);
  } else {
    std::cout << known->code << ": " << known->what << "\nIf not: " << known->hint << "\n";
  }
  return 0;
}

}  // namespace heddle::tools
