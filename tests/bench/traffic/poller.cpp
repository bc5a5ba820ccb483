// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/traffic/poller.h"

#include <netinet/tcp.h>
#include <time.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace heddle::bench {
namespace {

constexpr std::uint64_t second = 1'000'000'000;

void send_at_once(int fd) {
  const int one = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

Fd make_socket(const SocketAddress& address) {
  return Fd(::socket(address.ip.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

}  // namespace

std::uint64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * second + static_cast<std::uint64_t>(now.tv_nsec);
}

void fail(const char* what) {
  std::fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, std::strerror(errno));
  std::exit(1);
}

Poller::Poller() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) fail("epoll_create1");
}

void Poller::add(int fd, std::uint32_t events, Handler& handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &handler;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
}

void Poller::change(int fd, std::uint32_t events, Handler& handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &handler;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) != 0) fail("epoll_ctl");
}

void Poller::run_once(std::uint64_t deadline) {
  timespec wait{};
  const std::uint64_t now = now_ns();
  const std::uint64_t left = deadline > now ? deadline - now : 0;
  wait.tv_sec = static_cast<time_t>(left / second);
  wait.tv_nsec = static_cast<long>(left % second);
  // To the nanosecond: a fixed rate of 2,000/s has 500 us between two requests.
  const int ready =
      ::epoll_pwait2(epoll_.get(), events_.data(), static_cast<int>(events_.size()), &wait, nullptr);
  if (ready < 0 && errno != EINTR) fail("epoll_pwait2");
  for (int i = 0; i < ready; ++i)
    static_cast<Handler*>(events_[static_cast<std::size_t>(i)].data.ptr)
        ->ready(events_[static_cast<std::size_t>(i)].events);
  retired_.clear();
}

void Poller::run() {
  for (;;) run_once(now_ns() + 3600 * second);
}

Fd listen_at(const SocketAddress& at) {
  Fd fd = make_socket(at);
  if (!fd) fail("socket");
  const int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_storage address{};
  const auto size = at.to_sockaddr(address);
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) fail("bind");
  if (::listen(fd.get(), 4096) != 0) fail("listen");
  return fd;
}

Fd dial(const SocketAddress& to) {
  Fd fd = make_socket(to);
  if (!fd) return fd;
  send_at_once(fd.get());
  sockaddr_storage address{};
  const auto size = to.to_sockaddr(address);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 && errno != EINPROGRESS)
    fd.reset();
  return fd;
}

int connect_error(int fd) {
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

Fd accept_one(int listener) {
  Fd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (fd) send_at_once(fd.get());
  return fd;
}

}  // namespace heddle::bench
