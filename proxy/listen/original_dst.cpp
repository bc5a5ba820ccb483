// SPDX-License-Identifier: Apache-2.0
#include "proxy/listen/original_dst.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace heddle::proxy {
namespace {

// SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST: linux/netfilter_ipv4.h cannot be included beside netinet/in.h.
constexpr int so_original_dst = 80;

Result<SocketAddress> ask_original_dst(int socket, bool v4) {
  sockaddr_storage address{};
  socklen_t size = v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
  if (::getsockopt(socket, v4 ? SOL_IP : SOL_IPV6, so_original_dst, &address, &size) != 0) {
    return make_errno(errno, "getsockopt(SO_ORIGINAL_DST)");
  }
  return SocketAddress::from(address);
}

Result<SocketAddress> local_address(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return make_errno(errno, "getsockname");
  }
  return SocketAddress::from(address);
}

}  // namespace

Result<SocketAddress> original_destination(int socket, const SocketAddress& client, Interception interception,
                                           bool outbound) {
  if (interception == Interception::ebpf && !outbound) return local_address(socket);
  auto answer = ask_original_dst(socket, client.ip.is_v4());
  if (answer || interception != Interception::ebpf || answer.error().code.value() != ENOENT) return answer;
  // Very many connections waited, and this one's destination had to make room: asking for our own address
  // makes the kernel's hook look for it again (bpf/hooks/getsockname.h).
  if (auto local = local_address(socket); !local) return local;
  return ask_original_dst(socket, client.ip.is_v4());
}

bool dials_listener(const Pod& pod, const SocketAddress& original_dst) {
  if (original_dst.port != pod.outbound_port) return false;
  return original_dst.ip.is_loopback() ||
         std::find(pod.ips.begin(), pod.ips.end(), original_dst.ip) != pod.ips.end();
}

bool dialled_from_within(int socket, const SocketAddress& client, const Pod& pod) {
  const auto own = local_address(socket);
  if (!own || !dials_listener(pod, *own)) return false;
  return own->ip == client.ip || (own->ip.is_loopback() && client.ip.is_loopback());
}

}  // namespace heddle::proxy
