// SPDX-License-Identifier: Apache-2.0
// heddle-proxy: the data plane of one node. It holds no privilege: every socket it uses in a pod comes from
// the agent.
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>

#include <csignal>
#include <cstdio>

#include "base/fd.h"
#include "base/log.h"
#include "proxy/program/memory.h"
#include "proxy/program/node_proxy.h"
#include "proxy/program/options.h"
#include "proxy/sandbox/privileges.h"
#include "proxy/sandbox/seccomp.h"

namespace heddle::proxy {
namespace {

// SIGTERM and SIGINT as a descriptor; blocked in every thread to come.
Result<Fd> take_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  Fd signals(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return make_errno(errno, "signalfd");
  return signals;
}

// What root is needed for, then nobody.
Result<> become_unprivileged(const ProgramOptions& options) {
  if (auto made = make_owned_folder(options.run_dir + "/proxy", options.uid); !made) return made;
  if (auto dropped = drop_privileges(options.uid); !dropped) return dropped;
  if (!options.seccomp) {
    spdlog::warn("system calls are not restricted next=\"run without --seccomp false\"");
    return {};
  }
  return restrict_system_calls();
}

int run(ProgramOptions options) {
  ::signal(SIGPIPE, SIG_IGN);
  auto signals = take_signals();
  const auto limit = raise_fd_limit();
  const auto fail = [](const Error& error) {
    spdlog::critical("cannot start error=\"{}\"", error.message());
    return 1;
  };
  if (!signals) return fail(signals.error());
  if (auto dropped = become_unprivileged(options); !dropped) return fail(dropped.error());
  return_memory_in_background();
  spdlog::info("starting version={} workers={} run_dir={} open_files={}", HEDDLE_VERSION, options.workers,
               options.run_dir, limit ? *limit : 0);
  NodeProxy proxy(std::move(options));
  if (auto started = proxy.start(std::move(*signals)); !started) return fail(started.error());
  proxy.run();
  return 0;
}

}  // namespace
}  // namespace heddle::proxy

int main(int argc, char** argv) {
  int exit_code = 0;
  auto options = heddle::proxy::parse_options(argc, argv, exit_code);
  if (!options) return exit_code;
  if (auto logging = heddle::start_logging(options->log); !logging) {
    std::fprintf(stderr, "%s\n", logging.error().message().c_str());
    return 2;
  }
  return heddle::proxy::run(std::move(*options));
}
