// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/probe.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "base/fd.h"

namespace heddle::tools {
namespace {

using Clock = std::chrono::steady_clock;

bool wait_for(int fd, short events, Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
  pollfd wait{fd, events, 0};
  return left > 0 && ::poll(&wait, 1, static_cast<int>(left)) == 1;
}

Fd connect_within(const SocketAddress& address, Clock::time_point deadline) {
  sockaddr_storage storage{};
  const auto length = address.to_sockaddr(storage);
  Fd fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return {};
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&storage), length) != 0) {
    int error = 0;
    socklen_t size = sizeof error;
    if (errno != EINPROGRESS || !wait_for(fd.get(), POLLOUT, deadline) ||
        ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
      return {};
    }
  }
  return fd;
}

bool http_passes(const LabProbe& probe, int fd, const SocketAddress& address, Clock::time_point deadline) {
  std::string request = "GET " + probe.path + " HTTP/1.1\r\n";
  bool host = false;
  for (const auto& [name, value] : probe.headers) {
    request += name + ": " + value + "\r\n";
    host = host || name == "Host";
  }
  if (!host) request += "Host: " + address.to_string() + "\r\n";
  request += "User-Agent: kube-probe/heddle-lab\r\nAccept: */*\r\nConnection: close\r\n\r\n";
  if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size()))
    return false;
  std::string reply;
  while (reply.size() < 13) {
    char chunk[256];
    if (!wait_for(fd, POLLIN, deadline)) return false;
    const ssize_t got = ::recv(fd, chunk, sizeof chunk, 0);
    if (got <= 0) return false;
    reply.append(chunk, static_cast<std::size_t>(got));
  }
  return reply.starts_with("HTTP/1.") && (reply[9] == '2' || reply[9] == '3');
}

}  // namespace

bool run_network_probe(const LabProbe& probe, const std::string& pod_ip) {
  const auto deadline = Clock::now() + std::chrono::seconds(probe.timeout_s);
  const auto ip = IpAddress::parse(probe.host.empty() ? pod_ip : probe.host);
  if (!ip) return false;
  const SocketAddress address{*ip, probe.port};
  const Fd fd = connect_within(address, deadline);
  if (!fd) return false;
  return probe.kind == LabProbe::Kind::tcp || http_passes(probe, fd.get(), address, deadline);
}

Result<pid_t> start_network_probe(const LabProbe& probe, const std::string& pod_ip, int node_netns,
                                  const std::string& kubelet_cgroup) {
  const pid_t pid = ::fork();
  if (pid < 0) return make_errno(errno, "cannot fork");
  if (pid > 0) return pid;
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const Fd procs(::open((kubelet_cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (!procs || ::write(procs.get(), "0", 1) != 1 || ::setns(node_netns, CLONE_NEWNET) != 0) ::_exit(2);
  ::_exit(run_network_probe(probe, pod_ip) ? 0 : 1);
}

}  // namespace heddle::tools
