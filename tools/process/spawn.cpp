// SPDX-License-Identifier: Apache-2.0
#include "tools/process/spawn.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

namespace heddle::tools {
namespace {

// What the child inherits besides the spec; -1 means "as the caller's".
struct Streams {
  int in = -1;
  int out = -1;
  int err = -1;
};

// A failed step of the child, sent to the parent over a close-on-exec pipe.
struct Failure {
  int errnum;
  char step[120];
};

[[noreturn]] void fail(int report, const char* step, const std::string& object) {
  Failure failure{errno, {}};
  std::snprintf(failure.step, sizeof failure.step, "%s %s", step, object.c_str());
  [[maybe_unused]] const auto sent = ::write(report, &failure, sizeof failure);
  ::_exit(127);
}

void enter_cgroup(const SpawnSpec& spec, int report) {
  if (spec.cgroup.empty()) return;
  const Fd procs(::open((spec.cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (!procs || ::write(procs.get(), "0", 1) != 1) fail(report, "join cgroup", spec.cgroup);
}

void enter_mounts(const SpawnSpec& spec, int report) {
  if (spec.mount_ns_of > 0) {
    const auto path = "/proc/" + std::to_string(spec.mount_ns_of) + "/ns/";
    const Fd mounts(::open((path + "mnt").c_str(), O_RDONLY | O_CLOEXEC));
    const Fd names(::open((path + "uts").c_str(), O_RDONLY | O_CLOEXEC));
    if (!mounts || !names || ::setns(mounts.get(), CLONE_NEWNS) != 0 ||
        ::setns(names.get(), CLONE_NEWUTS) != 0) {
      fail(report, "enter namespaces in", path);
    }
  }
  if (!spec.hostname.empty() &&
      (::unshare(CLONE_NEWUTS) != 0 ||
       ::sethostname(spec.hostname.c_str(), std::min<std::size_t>(63, spec.hostname.size())) != 0)) {
    fail(report, "set the host name", spec.hostname);
  }
  if (spec.mounts.empty() && !spec.scratch_mnt) return;
  if (::unshare(CLONE_NEWNS) != 0) fail(report, "make a mount namespace", {});
  // Slave, not private: what the host unmounts (a deleted pod's netns file) goes away here too.
  if (::mount("", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) fail(report, "detach mounts of", "/");
  if (spec.scratch_mnt && ::mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755,size=16m") != 0) {
    fail(report, "mount tmpfs on", "/mnt");
  }
  for (const auto& bind : spec.mounts) {
    if (spec.scratch_mnt && bind.target.starts_with("/mnt/")) {
      for (auto slash = bind.target.find('/', 5);; slash = bind.target.find('/', slash + 1)) {
        ::mkdir(bind.target.substr(0, slash).c_str(), 0755);
        if (slash == std::string::npos) break;
      }
    }
    if (::mount(bind.source.c_str(), bind.target.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0) {
      fail(report, "bind-mount on", bind.target);
    }
  }
}

void drop_user(const SpawnSpec& spec, int report) {
  if (spec.gid || spec.uid) {
    const gid_t gid = spec.gid.value_or(*spec.uid);
    if (::setgroups(0, nullptr) != 0 || ::setresgid(gid, gid, gid) != 0) {
      fail(report, "become group", std::to_string(gid));
    }
  }
  if (spec.uid && ::setresuid(*spec.uid, *spec.uid, *spec.uid) != 0) {
    fail(report, "become user", std::to_string(*spec.uid));
  }
}

void open_streams(const SpawnSpec& spec, Streams streams, int report) {
  if (streams.in < 0 && spec.null_stdin) streams.in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (!spec.output_file.empty()) {
    streams.out = ::open(spec.output_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (streams.out < 0) fail(report, "open", spec.output_file);
    streams.err = streams.out;
  }
  if (streams.in >= 0) ::dup2(streams.in, 0);
  if (streams.out >= 0) ::dup2(streams.out, 1);
  if (streams.err >= 0) ::dup2(streams.err, 2);
}

void set_environment(const SpawnSpec& spec) {
  if (spec.clear_env) {
    const char* path = std::getenv("PATH");
    const std::string kept = path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    ::clearenv();
    ::setenv("PATH", kept.c_str(), 1);
  }
  for (const auto& [name, value] : spec.env) ::setenv(name.c_str(), value.c_str(), 1);
}

[[noreturn]] void child(const SpawnSpec& spec, const Streams& streams, int report) {
  // The caller may block or ignore signals (a daemon with a signalfd); programs expect the defaults.
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGCHLD, SIGHUP}) ::signal(signal, SIG_DFL);
  if (spec.new_session) ::setsid();
  // Opened before the user changes: the log folder is root's.
  open_streams(spec, streams, report);
  enter_cgroup(spec, report);
  if (spec.netns >= 0 && ::setns(spec.netns, CLONE_NEWNET) != 0) fail(report, "enter network namespace", {});
  enter_mounts(spec, report);
  if (!spec.working_directory.empty() && ::chdir(spec.working_directory.c_str()) != 0) {
    fail(report, "change to folder", spec.working_directory);
  }
  drop_user(spec, report);
  set_environment(spec);
  std::vector<char*> argv;
  for (const auto& argument : spec.argv) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  fail(report, "start", spec.argv[0]);
}

Result<pid_t> spawn_with(const SpawnSpec& spec, const Streams& streams) {
  if (spec.argv.empty()) return make_error(Errc::invalid_argument, "no command to start");
  int report[2];
  if (::pipe2(report, O_CLOEXEC) != 0) return make_errno(errno, "cannot make a pipe");
  Fd read_end(report[0]);
  Fd write_end(report[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return make_errno(errno, "cannot fork");
  if (pid == 0) child(spec, streams, write_end.get());
  write_end.reset();
  Failure failure{};
  ssize_t got;
  do {
    got = ::read(read_end.get(), &failure, sizeof failure);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return pid;
  ::waitpid(pid, nullptr, 0);
  return make_errno(failure.errnum, std::string("cannot ") + failure.step);
}

// Moves bytes until both outputs are closed or the deadline passes. Returns false at the deadline.
bool pump(Fd& in, Fd& out, Fd& err, const std::string& input, std::size_t kept, Finished& done,
          std::chrono::steady_clock::time_point deadline) {
  std::size_t written = 0;
  if (input.empty()) in.reset();
  while (out || err) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd waits[3] = {{out.get(), POLLIN, 0}, {err.get(), POLLIN, 0}, {in.get(), POLLOUT, 0}};
    if (::poll(waits, 3, static_cast<int>(left.count())) < 0 && errno != EINTR) return false;
    const auto drain = [kept](Fd& fd, short events, std::string& to) {
      if (!fd || events == 0) return;
      char chunk[16384];
      const ssize_t got = ::read(fd.get(), chunk, sizeof chunk);
      if (got <= 0) return fd.reset();
      to.append(chunk, std::min(static_cast<std::size_t>(got), kept - std::min(kept, to.size())));
    };
    drain(out, waits[0].revents, done.out);
    drain(err, waits[1].revents, done.err);
    if (in && waits[2].revents != 0) {
      const ssize_t put = ::write(in.get(), input.data() + written, input.size() - written);
      if (put > 0) written += static_cast<std::size_t>(put);
      if (put < 0 || written == input.size()) in.reset();
    }
  }
  return true;
}

}  // namespace

std::string Exit::to_string() const {
  if (WIFSIGNALED(status)) return "signal " + std::to_string(WTERMSIG(status));
  return "exit code " + std::to_string(WEXITSTATUS(status));
}

Result<pid_t> spawn(const SpawnSpec& spec) {
  return spawn_with(spec, {});
}

Result<Finished> run(const SpawnSpec& spec, const std::string& input, std::chrono::milliseconds timeout) {
  int in[2];
  int out[2];
  int err[2];
  if (::pipe2(in, O_CLOEXEC) != 0) return make_errno(errno, "cannot make a pipe");
  Fd in_read(in[0]);
  Fd in_write(in[1]);
  if (::pipe2(out, O_CLOEXEC) != 0) return make_errno(errno, "cannot make a pipe");
  Fd out_read(out[0]);
  Fd out_write(out[1]);
  if (::pipe2(err, O_CLOEXEC) != 0) return make_errno(errno, "cannot make a pipe");
  Fd err_read(err[0]);
  Fd err_write(err[1]);
  auto pid = spawn_with(spec, {in_read.get(), out_write.get(), err_write.get()});
  in_read.reset();
  out_write.reset();
  err_write.reset();
  if (!pid) return pid.error();
  Finished done;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  struct sigaction ignore{};
  struct sigaction before{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &before);  // the program may close its stdin early
  done.timed_out = !pump(in_write, out_read, err_read, input, spec.kept_output, done, deadline);
  ::sigaction(SIGPIPE, &before, nullptr);
  if (done.timed_out) ::kill(*pid, SIGKILL);
  while (::waitpid(*pid, &done.exit.status, 0) < 0 && errno == EINTR) {
  }
  return done;
}

Result<std::string> run_checked(const SpawnSpec& spec, const std::string& input,
                                std::chrono::milliseconds timeout) {
  auto done = run(spec, input, timeout);
  if (!done) return done.error();
  if (done->timed_out) {
    return make_error(Errc::timeout,
                      spec.argv[0] + " did not end within " + std::to_string(timeout.count()) + " ms");
  }
  if (!done->exit.ok()) {
    return make_error(Errc::internal, spec.argv[0] + " ended with " + done->exit.to_string() + ": " +
                                          (done->err.empty() ? done->out : done->err).substr(0, 2000));
  }
  return done->out;
}

}  // namespace heddle::tools
