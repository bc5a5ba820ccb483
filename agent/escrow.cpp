// SPDX-License-Identifier: Apache-2.0
#include "agent/escrow.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/io/netns.h"
#include "base/ip.h"

#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C
#endif

namespace heddle::agent {
namespace {

constexpr int backlog = 4096;

// In the calling thread's netns.
Result<Fd> open_listener(std::uint16_t port) {
  bool ipv6 = true;
  Fd fd(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd && errno == EAFNOSUPPORT) {
    ipv6 = false;
    fd = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  }
  if (!fd) return make_errno(errno, "cannot create a listener in the pod's network namespace");
  const int on = 1;
  const int off = 0;
  // Connections of an earlier listener may still be in TIME_WAIT on this port.
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (ipv6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
  sockaddr_in6 any6{};
  any6.sin6_family = AF_INET6;
  any6.sin6_port = htons(port);
  sockaddr_in any4{};
  any4.sin_family = AF_INET;
  any4.sin_port = htons(port);
  int bound = ipv6 ? ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&any6), sizeof any6)
                   : ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&any4), sizeof any4);
  if (bound != 0 && ipv6 && errno == EADDRNOTAVAIL) {
    // IPv6 is compiled in but switched off here (net.ipv6.conf.all.disable_ipv6).
    fd = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return make_errno(errno, "cannot create a listener in the pod's network namespace");
    ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&any4), sizeof any4);
  }
  if (bound != 0) return make_errno(errno, "cannot bind port " + std::to_string(port) + " in the pod");
  if (::listen(fd.get(), backlog) != 0) {
    return make_errno(errno, "cannot listen on port " + std::to_string(port) + " in the pod");
  }
  return fd;
}

}  // namespace

Result<> open_listeners(int netns_fd, std::uint16_t outbound_port, std::uint16_t inbound_port,
                        HeldSockets& held) {
  auto scope = ScopedNetns::enter(netns_fd);
  if (!scope) return scope.error();
  // Loopback may still be down when chained plugins run; connections to the pod's own address travel over it.
  if (auto up = bring_loopback_up(); !up) return up.error();
  const std::pair<Fd*, std::uint16_t> wanted[] = {{&held.outbound, outbound_port},
                                                  {&held.inbound, inbound_port}};
  Fd made[2];
  for (int i = 0; i < 2; ++i) {
    if (check_listener(wanted[i].first->get(), wanted[i].second)) continue;
    auto listener = open_listener(wanted[i].second);
    if (!listener) return listener.error();
    made[i] = std::move(*listener);
  }
  for (int i = 0; i < 2; ++i) {
    if (made[i]) *wanted[i].first = std::move(made[i]);
  }
  return {};
}

Result<> check_listener(int fd, std::uint16_t port) {
  int listening = 0;
  socklen_t size = sizeof listening;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0) {
    return make_errno(errno, "getsockopt(SO_ACCEPTCONN)");
  }
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) != 0)
    return make_errno(errno, "getsockname");
  const auto address = SocketAddress::from(storage);
  if (listening == 0 || !address || address->port != port) {
    return make_error(Errc::not_found, "no listener on port " + std::to_string(port));
  }
  return {};
}

Result<Fd> netns_of_socket(int fd) {
  Fd out(::ioctl(fd, SIOCGSKNS));
  if (!out) return make_errno(errno, "ioctl(SIOCGSKNS)");
  return out;
}

HeldSockets* Escrow::find(const std::string& container_id) {
  const auto found = held_.find(container_id);
  return found == held_.end() ? nullptr : &found->second;
}

HeldSockets& Escrow::keep(const std::string& container_id, HeldSockets sockets) {
  return held_[container_id] = std::move(sockets);
}

}  // namespace heddle::agent
