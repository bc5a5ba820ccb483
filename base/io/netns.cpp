// SPDX-License-Identifier: Apache-2.0
#include "base/io/netns.h"

#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <spdlog/spdlog.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace heddle {

Result<Fd> open_netns(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return make_errno(errno, "cannot open network namespace " + path);
  if (::ioctl(fd.get(), NS_GET_NSTYPE) != CLONE_NEWNET) {
    return make_error(Errc::invalid_argument, path + " is not a network namespace");
  }
  return fd;
}

Result<ScopedNetns> ScopedNetns::enter(int netns_fd) {
  Fd home(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home) return make_errno(errno, "cannot open /proc/thread-self/ns/net");
  if (::setns(netns_fd, CLONE_NEWNET) != 0) return make_errno(errno, "cannot enter a network namespace");
  return ScopedNetns(std::move(home));
}

ScopedNetns::~ScopedNetns() {
  if (home_ && ::setns(home_.get(), CLONE_NEWNET) != 0) {
    spdlog::critical("cannot leave a network namespace: {}", std::strerror(errno));
    std::abort();
  }
}

Result<std::uint64_t> socket_netns_cookie(int socket) {
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (::getsockopt(socket, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) != 0) {
    return make_errno(errno, "getsockopt(SO_NETNS_COOKIE), a feature of Linux 5.14");
  }
  return cookie;
}

Result<std::uint64_t> netns_cookie(int netns_fd) {
  auto scope = ScopedNetns::enter(netns_fd);
  if (!scope) return scope.error();
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return make_errno(errno, "cannot create a socket in a network namespace");
  return socket_netns_cookie(socket.get());
}

Result<std::vector<IpAddress>> local_addresses() {
  ifaddrs* list = nullptr;
  if (::getifaddrs(&list) != 0) return make_errno(errno, "getifaddrs");
  std::vector<IpAddress> out;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || (entry->ifa_flags & IFF_LOOPBACK) != 0) continue;
    sockaddr_storage storage{};
    if (entry->ifa_addr->sa_family == AF_INET) {
      std::memcpy(&storage, entry->ifa_addr, sizeof(sockaddr_in));
    } else if (entry->ifa_addr->sa_family == AF_INET6) {
      std::memcpy(&storage, entry->ifa_addr, sizeof(sockaddr_in6));
    } else {
      continue;
    }
    if (auto address = SocketAddress::from(storage)) out.push_back(address->ip);
  }
  ::freeifaddrs(list);
  return out;
}

Result<> bring_loopback_up() {
  const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return make_errno(errno, "cannot create a socket");
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", 3);
  if (::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0)
    return make_errno(errno, "cannot read the flags of lo");
  if ((request.ifr_flags & IFF_UP) != 0) return {};
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) return make_errno(errno, "cannot set lo up");
  return {};
}

}  // namespace heddle
