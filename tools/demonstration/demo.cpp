// SPDX-License-Identifier: Apache-2.0
#include "tools/demonstration/demo.h"

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "tools/demonstration/steps.h"
#include "tools/output/json.h"
#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using Clock = std::chrono::steady_clock;

void remove_labs(const std::string& name) {
  for (const auto* suffix : {"-before", "", "-iptables"}) {
    if (auto layout = LabLayout::of(name + suffix)) (void)remove_lab(*layout);
  }
}

// Set by the first signal; the demo stops at the next step's edge and says so.
std::atomic<bool> interrupted{false};
std::atomic<bool> parked{false};

void park_if_interrupted() {
  if (!interrupted) return;
  parked = true;
  while (true) ::pause();  // the signal thread ends the process
}

// Ctrl-C: a thread of its own takes every lab down, which ends whatever the demo waits for, until the demo
// has stopped: it may have been about to make the next lab.
void watch_signals(const std::string& name) {
  sigset_t mask;
  sigemptyset(&mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&mask, signal);
  ::pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  std::thread([mask, name] {
    int signal = 0;
    ::sigwait(&mask, &signal);
    interrupted = true;
    std::fprintf(stderr, "\ninterrupted: removing the demo's namespaces, cgroups, pins and processes\n");
    for (int i = 0; i < 200 && !parked; ++i) {
      remove_labs(name);
      ::usleep(50'000);
    }
    remove_labs(name);
    ::_exit(130);
  }).detach();
}

class Show {
 public:
  explicit Show(const DemoOptions& options)
      : options_(options), terminal_(::isatty(2) && options.show_progress) {}

  // Runs one step and prints its line. Returns whether it went well.
  bool step(const std::string& name, const std::function<Result<Finding>()>& work) {
    if (terminal_) {
      std::fprintf(stderr, "  …  %-36s", name.c_str());
      std::fflush(stderr);
    }
    const auto begin = Clock::now();
    park_if_interrupted();
    auto finding = work();
    park_if_interrupted();
    const double took = std::chrono::duration<double>(Clock::now() - begin).count();
    json::object entry{{"name", name}, {"ok", finding && finding->ok}};
    std::string text;
    if (finding) {
      entry["measured"] = std::move(finding->measured);
      text = finding->text;
    } else {
      entry["measured"] = json::object();
      entry["error"] = finding.error().message();
      text = finding.error().message();
    }
    entry["took_s"] = std::round(took * 1000) / 1000;
    const bool ok = finding && finding->ok;
    ok_ = ok_ && ok;
    if (options_.show_progress) {
      std::fprintf(stderr, "%s  %s  %-36s%s  (%.1f s)\n", terminal_ ? "\r\033[K" : "", ok ? "ok  " : "FAIL",
                   name.c_str(), text.c_str(), took);
    }
    steps_.push_back(std::move(entry));
    return ok;
  }

  void heading(const std::string& text) const {
    if (options_.show_progress) std::fprintf(stderr, "\n%s\n", text.c_str());
  }

  int finish() {
    const double took = std::chrono::duration<double>(Clock::now() - begin_).count();
    if (options_.json) {
      const json::object document{
          {"ok", ok_}, {"steps", std::move(steps_)}, {"took_s", std::round(took * 10) / 10}};
      std::cout << json_text(document, true) << "\n";
    }
    if (options_.show_progress) {
      std::fprintf(stderr, "\n%s in %.0f s\n", ok_ ? "everything held" : "something did not hold", took);
    }
    return ok_ ? 0 : 1;
  }

 private:
  const DemoOptions& options_;
  bool terminal_;
  bool ok_ = true;
  json::array steps_;
  Clock::time_point begin_ = Clock::now();
};

// Brings a lab up as a step; null when that failed.
std::unique_ptr<Stage> raise(Show& show, const std::string& title, const std::string& name, bool mesh,
                             const std::string& interception, const DemoOptions& options) {
  std::unique_ptr<Stage> stage;
  show.step(title, [&]() -> Result<Finding> {
    auto raised = Stage::raise(name, mesh, interception, options);
    if (!raised) return raised.error();
    stage = std::move(*raised);
    auto status = stage->status();
    if (!status) return status.error();
    Finding out;
    out.ok = true;
    const auto nodes = status->at("nodes").as_array().size();
    const auto pods = status->at("pods").as_array().size();
    out.measured = {{"nodes", nodes}, {"pods", pods}};
    out.text = std::to_string(nodes) + " nodes, " + std::to_string(pods) + " pods ready";
    for (const auto& node : mesh ? stage->nodes() : std::vector<NodeView>()) {
      auto state = node.agent_state();
      if (!state) return state.error();
      const auto mode = text_at(*state, {"interception", "mode"});
      if (!mode.empty()) out.measured["interception"] = mode;
      if (out.text.find("interception") == std::string::npos) out.text += ", interception " + mode;
    }
    return out;
  });
  return stage;
}

void run_steps(Show& show, Stage& stage, Baseline& baseline,
               const std::vector<std::pair<std::string, Step>>& steps) {
  for (const auto& [name, step] : steps) {
    show.step(name, [&, &work = step] { return work(stage, baseline); });
  }
}

void print_next(const Stage& stage) {
  std::fprintf(
      stderr,
      "\nlab `%s` stays up. Try:\n"
      "  heddle status --lab %s\n  heddle edges --lab %s\n  heddle stat --lab %s\n  heddle tap --lab %s\n"
      "  heddle lab exec client --name %s -- curl -si http://web.demo/\n"
      "  heddle lab capture node-1 --name %s\n  heddle lab down %s\n",
      stage.layout().name.c_str(), stage.layout().name.c_str(), stage.layout().name.c_str(),
      stage.layout().name.c_str(), stage.layout().name.c_str(), stage.layout().name.c_str(),
      stage.layout().name.c_str(), stage.layout().name.c_str());
}

void perform(Show& show, const DemoOptions& options) {
  Baseline baseline;
  show.heading("Without heddle");
  {
    auto before = raise(show, "lab up", options.name + "-before", false, "auto", options);
    if (!before) return;
    run_steps(show, *before, baseline,
              {{"wire, before", wire_in_clear},
               {"MariaDB greeting, direct", greeting_direct},
               {"balancing, before", balance_by_connection}});
  }
  const bool first_is_iptables = options.interception == "iptables";
  show.heading(first_is_iptables ? "With heddle, iptables interception" : "With heddle, eBPF interception");
  auto meshed = raise(show, "lab up, meshed", options.name, true, options.interception, options);
  if (!meshed) return;
  if (options.keep) meshed->keep();
  run_steps(show, *meshed, baseline,
            {{"wire, after", wire_encrypted},
             {"protocols detected", protocols_detected},
             {"MariaDB greeting, meshed", greeting_meshed},
             {"balancing, after", balance_by_request},
             {"first connect of 50 pods", first_connect},
             {"agent killed under load", agent_killed},
             {"proxy replaced under load", proxy_replaced}});
  if (options.interception == "auto") {
    show.heading("The same with iptables interception");
    auto iptables = raise(show, "lab up, iptables", options.name + "-iptables", true, "iptables", options);
    if (iptables) {
      run_steps(show, *iptables, baseline,
                {{"wire, iptables", wire_encrypted},
                 {"protocols detected, iptables", protocols_detected},
                 {"MariaDB greeting, iptables", greeting_meshed},
                 {"balancing, iptables", balance_by_request},
                 {"first connect of 50 pods, iptables", first_connect},
                 {"agent killed, iptables", agent_killed},
                 {"proxy replaced, iptables", proxy_replaced}});
      show.heading("Interception cost, eBPF against iptables, interleaved");
      show.step("CPU per connection", [&] { return interception_cost(*meshed, *iptables); });
    }
  }
  if (options.keep) print_next(*meshed);
}

}  // namespace

int run_demo(const DemoOptions& options) {
  if (::geteuid() != 0) {
    std::fprintf(stderr,
                 "heddle: the demo makes network namespaces and loads BPF programs: run it as root (sudo)\n");
    return 1;
  }
  remove_labs(options.name);  // of an earlier run that was killed
  watch_signals(options.name);
  Show show(options);
  perform(show, options);
  return show.finish();
}

}  // namespace heddle::tools
