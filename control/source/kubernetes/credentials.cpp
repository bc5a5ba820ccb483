// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/credentials.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.h"

namespace heddle::source::kubernetes {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t output_limit = 1024 * 1024;
constexpr std::size_t complaint_limit = 1024;     // of what it says to its standard error
constexpr std::chrono::milliseconds look_up{50};  // from one look at whether to stop to the next
constexpr std::chrono::seconds pause_after_failure{1};
constexpr std::chrono::seconds early{10};  // a request under way must not outlive what it carries

struct Pipe {
  Fd in;
  Fd out;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return make_errno(errno, "cannot make a pipe");
  return Pipe{Fd(ends[1]), Fd(ends[0])};
}

// The process's environment, and after it what the plugin is to see.
std::vector<std::string> environment_of(const ExecPlugin& plugin, const std::string& cluster) {
  std::vector<std::string> out;
  const auto is_set = [&](std::string_view name) {
    return name == "KUBERNETES_EXEC_INFO" ||
           std::ranges::any_of(plugin.environment, [&](const auto& each) { return each.first == name; });
  };
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string_view variable(*each);
    if (!is_set(variable.substr(0, variable.find('=')))) out.emplace_back(variable);
  }
  for (const auto& [name, value] : plugin.environment) out.push_back(name + "=" + value);
  const bool tells = plugin.wants_cluster && !cluster.empty();
  out.push_back(R"(KUBERNETES_EXEC_INFO={"apiVersion":")" + plugin.api_version +
                R"(","kind":"ExecCredential","spec":{"interactive":false)" +
                (tells ? ",\"cluster\":" + cluster : "") + "}}");
  return out;
}

std::vector<char*> pointers_of(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

// In a process group of its own, so that what it starts ends with it.
Result<pid_t> start(const ExecPlugin& plugin, const std::string& cluster, int out, int err) {
  std::vector<std::string> words{plugin.command};
  words.insert(words.end(), plugin.arguments.begin(), plugin.arguments.end());
  std::vector<std::string> variables = environment_of(plugin, cluster);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, out, 1);
  ::posix_spawn_file_actions_adddup2(&actions, err, 2);
  sigset_t none;
  sigset_t usual;
  sigemptyset(&none);
  sigemptyset(&usual);
  for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&usual, signal);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &usual);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t child = -1;
  const int failed = ::posix_spawnp(&child, plugin.command.c_str(), &actions, &attributes,
                                    pointers_of(words).data(), pointers_of(variables).data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (failed != 0) return make_errno(failed, "cannot be started");
  return child;
}

// One piece of what can be read; beyond the limit it is counted and dropped. False: nothing more will come.
bool take(Fd& from, std::string& to, std::size_t limit, bool& too_much) {
  char piece[8192];
  const ssize_t got = ::read(from.get(), piece, sizeof piece);
  if (got < 0) return errno == EINTR;
  if (got == 0) return false;
  const auto fits = std::min(static_cast<std::size_t>(got), limit - to.size());
  to.append(piece, fits);
  too_much |= fits < static_cast<std::size_t>(got);
  return true;
}

struct Ended {
  std::string out;
  std::string err;
  bool too_much = false;
  bool late = false;
  int status = 0;
};

// Until it has closed its outputs and ended; killed when `deadline` or `stopping` says so.
Ended follow(pid_t child, Fd out, Fd err, Clock::time_point deadline, const std::atomic<bool>& stopping) {
  Ended ended;
  bool running = true;
  bool ignored = false;
  while (running && !ended.late && !stopping) {
    pollfd waits[2] = {{out.get(), POLLIN, 0}, {err.get(), POLLIN, 0}};
    const bool quiet = ::poll(waits, 2, static_cast<int>(look_up.count())) == 0;
    if (waits[0].revents != 0 && !take(out, ended.out, output_limit, ended.too_much)) out.reset();
    if (waits[1].revents != 0 && !take(err, ended.err, complaint_limit, ignored)) err.reset();
    // What it started may hold the pipes open: then it is over when nothing more comes.
    if (quiet || (!out && !err)) running = ::waitpid(child, &ended.status, WNOHANG) == 0;
    ended.late = Clock::now() >= deadline;
  }
  if (!running) return ended;
  ::kill(-child, SIGKILL);
  ::waitpid(child, &ended.status, 0);
  return ended;
}

// The last line of what it said, fit for a log.
std::string said(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const auto line = text.rfind('\n');
  if (line != std::string::npos) text.erase(0, line + 1);
  std::ranges::replace_if(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return text;
}

}  // namespace

Credentials::Credentials(ExecPlugin plugin, std::string cluster, std::chrono::milliseconds time_limit)
    : plugin_(std::move(plugin)), cluster_(std::move(cluster)), time_limit_(time_limit) {}

Credentials::~Credentials() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

std::optional<Credentials::Given> Credentials::get() {
  const std::lock_guard lock(mutex_);
  if (running_) return std::nullopt;
  const bool valid =
      known_ != nullptr && (!known_->expires || std::chrono::system_clock::now() + early < *known_->expires);
  // One that is given expired already is tried once: the clocks may differ.
  if (valid || (known_ != nullptr && fresh_)) {
    fresh_ = false;
    return Given(known_);
  }
  if (error_ && Clock::now() - failed_ < pause_after_failure) return Given(*error_);
  if (thread_.joinable()) thread_.join();  // it has nothing left to do
  running_ = true;
  thread_ = std::thread([this] { run(); });
  return std::nullopt;
}

void Credentials::refuse(const std::shared_ptr<const ExecCredential>& refused) {
  const std::lock_guard lock(mutex_);
  if (known_ == refused) known_.reset();
}

void Credentials::run() {
  auto given = ask();
  const std::lock_guard lock(mutex_);
  running_ = false;
  error_.reset();
  if (given) {
    known_ = std::move(*given);
    fresh_ = true;
    return;
  }
  known_.reset();
  error_ = given.error();
  failed_ = Clock::now();
}

Result<std::shared_ptr<const ExecCredential>> Credentials::ask() const {
  const auto refuse = [&](Error why) {
    why.detail = "the kubeconfig's exec command '" + plugin_.command + "': " + why.detail;
    if (!plugin_.install_hint.empty()) why.detail += "; " + plugin_.install_hint;
    return why;
  };
  auto out = make_pipe();
  if (!out) return refuse(out.error());
  auto err = make_pipe();
  if (!err) return refuse(err.error());
  const auto child = start(plugin_, cluster_, out->in.get(), err->in.get());
  if (!child) return refuse(child.error());
  out->in.reset();
  err->in.reset();
  const auto ended =
      follow(*child, std::move(out->out), std::move(err->out), Clock::now() + time_limit_, stopping_);
  if (stopping_) return make_error(Errc::closed, "stopping");
  if (ended.late) {
    return refuse(make_error(Errc::timeout, "did not end within " +
                                                std::to_string(time_limit_.count() / 1000) +
                                                " s; run it by hand to see what it waits for"));
  }
  if (ended.status != 0) {
    const std::string how = WIFEXITED(ended.status) ? "exit code " + std::to_string(WEXITSTATUS(ended.status))
                                                    : "signal " + std::to_string(WTERMSIG(ended.status));
    return refuse(make_error(Errc::permission_denied, "failed with " + how + ": " + said(ended.err)));
  }
  if (ended.too_much) return refuse(make_error(Errc::exhausted, "wrote more than a credential can be"));
  auto credential = parse_exec_credential(ended.out, plugin_.api_version);
  if (!credential) return refuse(credential.error());
  return std::make_shared<const ExecCredential>(std::move(*credential));
}

}  // namespace heddle::source::kubernetes
