// SPDX-License-Identifier: Apache-2.0
#include "agent/fallback/netns_child.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>

#include "base/fd.h"
#include "base/io/cgroup.h"
#include "base/io/netns.h"

namespace heddle::agent {
namespace {

constexpr std::size_t max_output = 4 * 1024 * 1024;

Result<> write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return make_errno(errno, "write");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

// libnftables translates cgroup paths below /sys/fs/cgroup only; hybrid machines have cgroup v2 elsewhere.
// Failing is no error: then the match on the cgroup does not load, and the mark is used.
void show_cgroup2() {
  const auto mount = cgroup2_mount();
  const char* expected = "/sys/fs/cgroup";
  if (!mount || *mount == expected || ::unshare(CLONE_NEWNS) != 0) return;
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
  ::mount(mount->c_str(), expected, nullptr, MS_BIND, nullptr);
}

Result<std::string> enter_and_work(int netns_fd, const std::function<Result<std::string>()>& work) {
  if (netns_fd < 0) {
    if (::unshare(CLONE_NEWNET) != 0) return make_errno(errno, "cannot make a network namespace");
    if (auto ok = bring_loopback_up(); !ok) return ok.error();
  } else if (::setns(netns_fd, CLONE_NEWNET) != 0) {
    return make_errno(errno, "cannot enter the pod's network namespace");
  }
  show_cgroup2();
  return work();
}

// The child's whole life. Its report: one byte, 0 or an Errc, then the text.
[[noreturn]] void live(int report, int netns_fd, const std::function<Result<std::string>()>& work) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // libnftables and the libraries it loads print some complaints themselves; what matters is in the report.
  const Fd nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (nowhere) ::dup2(nowhere.get(), 2);
  const auto result = enter_and_work(netns_fd, work);
  std::string text(1, '\0');
  if (result) {
    text += *result;
  } else {
    const bool unsupported = result.error().code == make_error_code(Errc::unsupported);
    const bool not_found = result.error().code == make_error_code(Errc::not_found);
    const auto code = unsupported ? Errc::unsupported : not_found ? Errc::not_found : Errc::internal;
    text[0] = static_cast<char>(code);
    text += result.error().detail.empty() ? result.error().message() : result.error().detail;
  }
  const auto written = write_all(report, text);
  ::_exit(written ? 0 : 1);
}

// Reads to the end, at most until `deadline`.
Result<std::string> read_report(int fd, std::chrono::steady_clock::time_point deadline) {
  std::string out;
  while (true) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd one{fd, POLLIN, 0};
    const int ready = left.count() <= 0 ? 0 : ::poll(&one, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0)
      return make_error(Errc::timeout, "changing nat rules took too long; the attempt was ended");
    char buffer[16 * 1024];
    const auto n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return make_errno(errno, "cannot read a child's report");
    if (n == 0) return out;
    out.append(buffer, static_cast<std::size_t>(n));
    if (out.size() > max_output) return make_error(Errc::exhausted, "a child's report is too long");
  }
}

int reap(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

Result<Fd> memory_file(std::string_view content) {
  Fd fd(::memfd_create("heddle", MFD_CLOEXEC));
  if (!fd) return make_errno(errno, "memfd_create");
  if (auto ok = write_all(fd.get(), content); !ok) return ok.error();
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

std::string content_of(const Fd& fd) {
  std::string out;
  char buffer[16 * 1024];
  ::lseek(fd.get(), 0, SEEK_SET);
  ssize_t n = 0;
  while (out.size() < max_output && (n = ::read(fd.get(), buffer, sizeof buffer)) > 0) {
    out.append(buffer, static_cast<std::size_t>(n));
  }
  return out;
}

[[noreturn]] void exec_program(const std::vector<std::string>& arguments, int in, int out, int err) {
  ::dup2(in, 0);
  ::dup2(out, 1);
  ::dup2(err, 2);
  std::vector<char*> argv;
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  char path[] = "PATH=/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin";
  char* environment[] = {path, nullptr};
  ::execvpe(argv[0], argv.data(), environment);
  ::_exit(errno == ENOENT ? 127 : 126);
}

}  // namespace

Result<std::string> in_netns_child(int netns_fd, const std::function<Result<std::string>()>& work,
                                   std::chrono::milliseconds limit) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return make_errno(errno, "cannot make a pipe");
  const Fd ours(ends[0]);
  Fd theirs(ends[1]);
  const pid_t child = ::fork();
  if (child < 0) return make_errno(errno, "cannot fork");
  if (child == 0) live(theirs.get(), netns_fd, work);
  theirs.reset();
  auto report = read_report(ours.get(), std::chrono::steady_clock::now() + limit);
  if (!report) {
    ::kill(-child, SIGKILL);
    ::kill(child, SIGKILL);  // it may not have become a group's leader yet
  }
  const int status = reap(child);
  if (!report) return report.error();
  if (report->empty()) {
    return make_error(Errc::internal,
                      "a child that changes nat rules ended early, wait status " + std::to_string(status));
  }
  const auto code = static_cast<std::uint8_t>((*report)[0]);
  report->erase(0, 1);
  if (code != 0) return make_error(static_cast<Errc>(code), *report);
  return *report;
}

Result<std::string> run_program(const std::vector<std::string>& arguments, const std::string& input) {
  const auto in = memory_file(input);
  const auto out = memory_file({});
  const auto err = memory_file({});
  if (!in) return in.error();
  if (!out) return out.error();
  if (!err) return err.error();
  const pid_t child = ::fork();
  if (child < 0) return make_errno(errno, "cannot fork");
  if (child == 0) exec_program(arguments, in->get(), out->get(), err->get());
  const int status = reap(child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return content_of(*out);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
    return make_error(Errc::unsupported, arguments[0] + " is not installed");
  }
  auto words = content_of(*err);
  for (auto& c : words) {
    if (c == '\n') c = ' ';
  }
  return make_error(Errc::internal, arguments[0] + " failed: " + words);
}

}  // namespace heddle::agent
