// SPDX-License-Identifier: Apache-2.0
// heddle-proxy: the data plane of one node. It holds no privilege: every socket it uses in a pod comes from
// the agent.
#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "base/fd.h"
#include "base/io/netns.h"
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

// The proxy's own folder. Whoever is not root may not make it beside the agent's and waits for the agent to.
Result<> prepare_folder(const ProgramOptions& options, const Fd& signals) {
  const std::string folder = options.run_dir + "/proxy";
  auto made = make_owned_folder(folder, options.uid);
  if (::geteuid() == 0) return made;
  const auto usable = [&] { return ::access(folder.c_str(), W_OK | X_OK) == 0; };
  if (usable()) return {};
  spdlog::warn("cannot write to {} next=\"waiting for heddle-agent of the same --run-dir to make it\"",
               folder);
  while (!usable()) {
    pollfd signal{signals.get(), POLLIN, 0};
    if (::poll(&signal, 1, 200) > 0) return make_error(Errc::closed, "stopped while waiting for " + folder);
  }
  return {};
}

// What root is needed for, then nobody.
Result<> become_unprivileged(const ProgramOptions& options, const Fd& signals) {
  if (auto prepared = prepare_folder(options, signals); !prepared) return prepared;
  if (auto dropped = drop_privileges(options.uid); !dropped) return dropped;
  if (!options.seccomp) {
    spdlog::warn("system calls are not restricted next=\"run without --seccomp false\"");
    return {};
  }
  return restrict_system_calls();
}

// With everything closed: the next proxy has this one's ports and sockets.
void wait_for_signal(const Fd& signals) {
  spdlog::info("replaced: holding nothing, waiting to be stopped");
  pollfd signal{signals.get(), POLLIN, 0};
  while (::poll(&signal, 1, -1) < 0 && errno == EINTR) {
  }
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
  if (auto addresses = local_addresses()) options.settings.node_addresses = std::move(*addresses);
  if (auto dropped = become_unprivileged(options, *signals); !dropped) return fail(dropped.error());
  return_memory_in_background();
  spdlog::info("starting version={} workers={} run_dir={} open_files={}", HEDDLE_VERSION, options.workers,
               options.run_dir, limit ? *limit : 0);
  const bool stay = options.stay_when_replaced;
  const Fd later(::fcntl(signals->get(), F_DUPFD_CLOEXEC, 0));
  if (!later) return fail(make_errno(errno, "cannot duplicate a descriptor"));
  bool stopped = false;
  {
    NodeProxy proxy(std::move(options));
    if (auto started = proxy.start(std::move(*signals)); !started) return fail(started.error());
    proxy.run();
    stopped = proxy.stopped_by_signal();
  }
  if (stay && !stopped) wait_for_signal(later);
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
