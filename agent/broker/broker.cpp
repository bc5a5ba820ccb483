// SPDX-License-Identifier: Apache-2.0
#include "agent/broker/broker.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "base/io/connection.h"
#include "base/io/netns.h"

namespace heddle::agent {
Result<> prepare_marked(int socket, std::uint32_t mark) {
  if (::setsockopt(socket, SOL_SOCKET, SO_MARK, &mark, sizeof mark) != 0) {
    return make_errno(errno, "cannot mark a mesh socket (needs CAP_NET_ADMIN)");
  }
  return {};
}

Result<std::vector<Fd>> make_mesh_sockets(int netns_fd, bool ipv6, std::uint32_t count,
                                          const std::function<Result<>(int)>& tag) {
  std::vector<Fd> out;
  out.reserve(count);
  {
    auto scope = ScopedNetns::enter(netns_fd);
    if (!scope) return scope.error();
    const int off = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      Fd fd(::socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      if (!fd) return make_errno(errno, "cannot create a socket in the pod's network namespace");
      if (ipv6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
      set_connection_options(fd.get());
      out.push_back(std::move(fd));
    }
  }
  for (const auto& fd : out) {
    if (auto tagged = tag(fd.get()); !tagged) return tagged.error();
  }
  return out;
}

}  // namespace heddle::agent
