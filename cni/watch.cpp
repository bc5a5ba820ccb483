// SPDX-License-Identifier: Apache-2.0
#include "cni/watch.h"

#include <poll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>

#include "base/fd.h"
#include "base/io/file.h"
#include "cni/log.h"
#include "cni/throttle.h"

namespace heddle::cni {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds quiet_time{50};          // a writer is done when nothing happens for so long,
constexpr milliseconds longest_unquiet{1'000};  // but it is not waited for longer than this
constexpr milliseconds look_again{30'000};      // should an event be lost
constexpr milliseconds retry_failed{1'000};     // no folder or no configuration yet
constexpr milliseconds agent_ends{10'000};      // it asks the API server first, for 3 s at most
constexpr milliseconds look_for_word{50};

class Watcher {
 public:
  static Result<Watcher> start(const InstallOptions& options) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    if (::sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) return make_errno(errno, "sigprocmask");
    Fd stop(::signalfd(-1, &signals, SFD_CLOEXEC));
    if (!stop) return make_errno(errno, "signalfd");
    Fd events(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!events) return make_errno(errno, "inotify_init1: see fs.inotify.max_user_instances");
    return Watcher(options, std::move(stop), std::move(events));
  }

  void run() {
    while (true) {
      watch_folders();  // before looking, so that a change meanwhile is an event
      const milliseconds pause = converge();
      if (pause.count() > 0 && wait_for_stop(pause)) return;
      if (wait_for_event(last_error_.empty() ? look_again : retry_failed)) return;
    }
  }

  // The agent's last word, written while it ends; false: none came, or a second signal.
  bool agent_uninstalled(const std::string& path) {
    const auto deadline = std::chrono::steady_clock::now() + agent_ends;
    take_signal();
    while (true) {
      if (const auto word = read_file(path, 64)) {
        ::unlink(path.c_str());
        return *word == "uninstalled\n";
      }
      if (std::chrono::steady_clock::now() >= deadline || wait_for_stop(look_for_word)) return false;
    }
  }

 private:
  Watcher(const InstallOptions& options, Fd stop, Fd events)
      : options_(options), stop_(std::move(stop)), events_(std::move(events)) {}

  // Adding a watch again is free, and finds a folder that was replaced. A missing folder is found by
  // retrying.
  void watch_folders() {
    constexpr std::uint32_t changes = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ATTRIB |
                                      IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
    ::inotify_add_watch(events_.get(), options_.conf_dir.c_str(), changes);
    if (!options_.bin_dir.empty()) ::inotify_add_watch(events_.get(), options_.bin_dir.c_str(), changes);
  }

  void take_signal() {
    signalfd_siginfo taken{};
    [[maybe_unused]] const ssize_t size = ::read(stop_.get(), &taken, sizeof taken);
  }

  // Returns how long to leave the files alone.
  milliseconds converge() {
    const auto report = install(options_);
    if (!report) {
      const std::string message = report.error().message();
      if (message != last_error_) log(LogLevel::warn, "not in the chain yet: " + message);
      last_error_ = message;
      return {};
    }
    const bool first = std::exchange(settled_, true) == false || !last_error_.empty();
    last_error_.clear();
    if (report->binary_changed) log(LogLevel::info, "plugin copied bin_dir=" + options_.bin_dir);
    if (!report->list_changed) return {};
    log(LogLevel::info,
        (first ? "joined the chain file=" : "rejoined the chain after a change file=") + report->file);
    if (first) return {};
    const auto pause = throttle_.restored(std::chrono::steady_clock::now());
    if (pause.count() > 0) {
      log(LogLevel::warn, report->file + " was rewritten " + std::to_string(throttle_.count()) +
                              " times; restoring it less often, wait_ms=" + std::to_string(pause.count()) +
                              "; the main CNI plugin claims it alone: for Cilium set "
                              "cni.exclusive=false, for others try --own-first");
    }
    return pause;
  }

  bool wait_for_stop(milliseconds time) {
    pollfd poll{stop_.get(), POLLIN, 0};
    return ::poll(&poll, 1, static_cast<int>(time.count())) > 0;
  }

  // True when it is time to end.
  bool wait_for_event(milliseconds time) {
    std::array<pollfd, 2> polls{{{stop_.get(), POLLIN, 0}, {events_.get(), POLLIN, 0}}};
    ::poll(polls.data(), polls.size(), static_cast<int>(time.count()));
    const auto deadline = std::chrono::steady_clock::now() + longest_unquiet;
    while (drain() && std::chrono::steady_clock::now() < deadline) {
      ::poll(polls.data(), polls.size(), static_cast<int>(quiet_time.count()));
      if ((polls[0].revents & POLLIN) != 0) return true;
    }
    return (polls[0].revents & POLLIN) != 0;
  }

  // What happened does not matter, only that something did.
  bool drain() {
    alignas(inotify_event) std::array<char, 4096> buffer;
    bool any = false;
    while (::read(events_.get(), buffer.data(), buffer.size()) > 0) any = true;
    return any;
  }

  InstallOptions options_;
  Fd stop_;
  Fd events_;
  Throttle throttle_;
  std::string last_error_;
  bool settled_ = false;
};

}  // namespace

Result<> watch(const InstallOptions& options) {
  auto watcher = Watcher::start(options);
  if (!watcher) return watcher.error();
  const std::string word = options.entry.run_dir + "/agent/departure";
  if (options.leave_with_agent) ::unlink(word.c_str());  // of an agent before
  watcher->run();
  if (options.leave_with_agent && watcher->agent_uninstalled(word)) {
    log(LogLevel::info, "heddle leaves this node: the plugin leaves the chain");
    return uninstall(options);
  }
  log(LogLevel::info, "ending; the plugin stays in the chain (heddle-cni uninstall takes it out)");
  return {};
}

}  // namespace heddle::cni
