// SPDX-License-Identifier: Apache-2.0
#include "tests/support/netns_lab.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <thread>

#include "base/io/cgroup.h"
#include "base/io/netns.h"
#include "base/io/unix_message.h"

namespace heddle::test {
namespace {

[[noreturn]] void give_up(const std::string& what) {
  throw std::runtime_error("test set-up failed: " + what + " (" + std::strerror(errno) + ")");
}

// Runs `work` in a thread; what it throws is thrown here.
void in_thread(const std::function<void()>& work) {
  std::exception_ptr thrown;
  std::thread([&] {
    try {
      work();
    } catch (...) {
      thrown = std::current_exception();
    }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

void must(bool ok, const std::string& what) {
  if (!ok) give_up(what);
}

std::string read_all(int fd) {
  std::string out;
  char buffer[4096];
  ssize_t got = 0;
  while ((got = ::read(fd, buffer, sizeof buffer)) > 0) out.append(buffer, static_cast<std::size_t>(got));
  return out;
}

int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

struct SocketRequest {
  int family, type, protocol;
};

// The child of a SocketMaker: answers each request with a socket or an errno.
[[noreturn]] void serve_sockets(int conversation, const std::string& cgroup, int netns_fd) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // A fork inherits every descriptor, and would keep the test's sockets and namespaces alive.
  constexpr int kept = 3;
  netns_fd = ::fcntl(netns_fd, F_DUPFD_CLOEXEC, 500);
  conversation = ::fcntl(conversation, F_DUPFD_CLOEXEC, 501);
  if (::setns(netns_fd, CLONE_NEWNET) != 0 || ::dup2(conversation, kept) != kept) ::_exit(1);
  conversation = kept;
  ::close_range(kept + 1, ~0u, 0);
  const Fd procs(::open((cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (!procs || ::write(procs.get(), "0", 1) != 1) ::_exit(1);
  while (true) {
    auto message = receive_unix(conversation);
    if (!message || message->bytes.size() != sizeof(SocketRequest)) ::_exit(0);
    SocketRequest request{};
    std::memcpy(&request, message->bytes.data(), sizeof request);
    Fd socket(::socket(request.family, request.type | SOCK_CLOEXEC, request.protocol));
    const std::string reply = std::to_string(socket ? 0 : errno);
    const auto sent =
        socket ? send_unix(conversation, reply, {socket.get()}) : send_unix(conversation, reply);
    // A listener that its test closes must be closed: not before this copy is gone does the test go on.
    socket.reset();
    if (!sent || !send_unix(conversation, "closed")) ::_exit(1);
  }
}

}  // namespace

Fd make_netns() {
  Fd out;
  in_thread([&out] {
    must(::unshare(CLONE_NEWNET) == 0, "unshare(CLONE_NEWNET)");
    out = Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    must(static_cast<bool>(out), "open netns");
    must(bring_loopback_up().has_value(), "set lo up");
  });
  return out;
}

void in_netns(int netns_fd, const std::function<void()>& work) {
  in_thread([&] {
    must(::setns(netns_fd, CLONE_NEWNET) == 0, "setns");
    work();
  });
}

CommandResult run_in(int netns_fd, const std::string& command) {
  int ends[2];
  must(::pipe2(ends, O_CLOEXEC) == 0, "pipe");
  const pid_t child = ::fork();
  must(child >= 0, "fork");
  if (child == 0) {
    if (::setns(netns_fd, CLONE_NEWNET) != 0) ::_exit(126);
    ::dup2(ends[1], 1);
    ::dup2(ends[1], 2);
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  const Fd out(ends[0]);
  ::close(ends[1]);
  CommandResult result;
  result.output = read_all(out.get());
  result.status = wait_for(child);
  return result;
}

void must_run_in(int netns_fd, const std::string& command) {
  const auto result = run_in(netns_fd, command);
  must(result.status == 0, command + ": " + result.output);
}

void join_with_veth(const CableEnd& a, const CableEnd& b) {
  const std::string b_path = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(b.netns_fd);
  must_run_in(a.netns_fd,
              "ip link add " + a.device + " type veth peer name " + b.device + " netns " + b_path);
  for (const auto* end : {&a, &b}) {
    std::string script = "ip -batch - <<END\n";
    for (const auto& address : end->addresses) {
      const bool v6 = address.find(':') != std::string::npos;
      script += "addr add " + address + " dev " + end->device + (v6 ? " nodad" : "") + "\n";
    }
    must_run_in(end->netns_fd, "sysctl -q -w net.ipv6.conf." + end->device + ".accept_dad=0; " + script +
                                   "link set " + end->device + " up\nEND");
  }
}

TestCgroup::TestCgroup() {
  static std::atomic<int> next{0};
  auto mount = cgroup2_mount();
  must(mount.has_value(), "find cgroup2");
  path_ = *mount + "/heddle-test-" + std::to_string(::getpid()) + "-" + std::to_string(next++);
  must(::mkdir(path_.c_str(), 0755) == 0, "mkdir " + path_);
}

TestCgroup::~TestCgroup() {
  // A process that has just ended may still be counted for a moment.
  for (auto child = children_.rbegin(); child != children_.rend(); ++child) {
    eventually([&] { return ::rmdir(child->c_str()) == 0 || errno == ENOENT; });
  }
  if (!eventually([&] { return ::rmdir(path_.c_str()) == 0; })) {
    std::fprintf(stderr, "could not remove %s: %s\n", path_.c_str(), std::strerror(errno));
  }
}

std::string TestCgroup::child(const std::string& name) {
  std::string path = path_ + "/" + name;
  must(::mkdir(path.c_str(), 0755) == 0, "mkdir " + path);
  children_.push_back(path);
  return path;
}

SocketMaker::SocketMaker(const std::string& cgroup, int netns_fd) {
  int ends[2];
  must(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
  conversation_ = Fd(ends[0]);
  child_ = ::fork();
  must(child_ >= 0, "fork");
  if (child_ == 0) {
    ::close(ends[0]);
    serve_sockets(ends[1], cgroup, netns_fd);
  }
  ::close(ends[1]);
}

SocketMaker::~SocketMaker() {
  ::kill(child_, SIGKILL);
  wait_for(child_);
}

Fd SocketMaker::make(int family, int type, int protocol) const {
  const SocketRequest request{family, type, protocol};
  must(send_unix(conversation_.get(), {reinterpret_cast<const char*>(&request), sizeof request}).has_value(),
       "ask for a socket");
  auto reply = receive_unix(conversation_.get());
  must(reply.has_value() && receive_unix(conversation_.get()).has_value(),
       "get a socket (did the maker's process end?)");
  if (reply->fds.size() != 1) {
    errno = std::atoi(reply->bytes.c_str());
    return {};
  }
  return std::move(reply->fds[0]);
}

TestBpffs::TestBpffs() {
  char path[] = "/tmp/heddle-bpffs-XXXXXX";
  must(::mkdtemp(path) != nullptr, "mkdtemp");
  path_ = path;
  must(::mount("bpffs", path, "bpf", 0, nullptr) == 0, "mount a bpffs");
}

TestBpffs::~TestBpffs() {
  ::umount2(path_.c_str(), MNT_DETACH);
  ::rmdir(path_.c_str());
}

}  // namespace heddle::test
