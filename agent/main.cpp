// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include <cstdio>

#include "agent/agent.h"
#include "agent/probe_report.h"
#include "base/io/cgroup.h"

int main(int argc, char** argv) {
  using namespace heddle;
  int exit_code = 0;
  auto options = agent::parse_options(argc, argv, exit_code);
  if (!options) return exit_code;
  if (auto logging = start_logging(options->log); !logging) {
    std::fprintf(stderr, "%s\n", logging.error().message().c_str());
    return 2;
  }
  ::signal(SIGPIPE, SIG_IGN);
  if (options->probe) {
    std::printf("%s\n", agent::probe_report(options->iptables_backend).c_str());
    return 0;
  }
  const bool uninstall = options->uninstall;
  // Before any thread begins.
  if (auto entered = enter_node_cgroup_namespace(); !entered) {
    spdlog::warn(
        "cgroups may not be found error=\"{}\" next=\"run the agent with hostPID and CAP_SYS_PTRACE\"",
        entered.error().message());
  }
  agent::Agent agent(std::move(*options));
  auto done = uninstall ? agent.uninstall() : agent.start();
  if (done && !uninstall) done = agent.run();
  if (!done) {
    spdlog::critical("{} error=\"{}\"", uninstall ? "cannot uninstall" : "cannot serve",
                     done.error().message());
    return 1;
  }
  return 0;
}
