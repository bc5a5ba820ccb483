// SPDX-License-Identifier: Apache-2.0
#include "proxy/policy/authorize.h"

#include <algorithm>
#include <array>
#include <tuple>

namespace heddle::proxy {
namespace {

// Linkerd's default clusterNetworks: the private ranges.
bool in_cluster_networks(const IpAddress& ip) {
  static const std::array<Cidr, 5> networks = {
      Cidr::parse("10.0.0.0/8").value(), Cidr::parse("100.64.0.0/10").value(),
      Cidr::parse("172.16.0.0/12").value(), Cidr::parse("192.168.0.0/16").value(),
      Cidr::parse("fd00::/8").value()};
  return std::any_of(networks.begin(), networks.end(), [&](const Cidr& each) { return each.contains(ip); });
}

Decision allow_if(bool allowed, const char* rule, const char* reason) {
  return {allowed, rule, allowed ? "" : reason, false};
}

}  // namespace

Decision authorize(const InboundConnection& connection) {
  const Pod& pod = *connection.pod;
  const std::uint16_t port = connection.original_dst.port;
  if (port == 0 || port == pod.outbound_port || port == pod.inbound_port) {
    return {false, "heddle:own-port", "the mesh's own ports are not reachable through the mesh", false};
  }
  if (std::find(pod.ips.begin(), pod.ips.end(), connection.original_dst.ip) == pod.ips.end()) {
    return {false, "heddle:other-address", "the address is not the pod's", false};
  }
  const bool identified = !connection.peer_identity.empty() &&
                          (connection.tls == TlsState::mutual || connection.tls == TlsState::local);
  const bool required = std::any_of(pod.require_identity_ports.begin(), pod.require_identity_ports.end(),
                                    [port](const PortRange& range) { return range.contains(port); });
  if (required && !identified) {
    return {false, "default:require-identity", "the port requires a mesh identity and the client has none",
            false};
  }
  const char* no_identity = "the pod's policy requires a mesh identity and the client has none";
  switch (pod.policy) {
    case InboundPolicy::all_unauthenticated:
      return {true, "default:all-unauthenticated", "", false};
    case InboundPolicy::audit:
      return {true, "default:audit", "", true};
    case InboundPolicy::all_authenticated:
      return allow_if(identified, "default:all-authenticated", no_identity);
    case InboundPolicy::cluster_authenticated:
      return allow_if(identified, "default:cluster-authenticated", no_identity);
    case InboundPolicy::cluster_unauthenticated:
      return allow_if(identified || in_cluster_networks(connection.client.ip),
                      "default:cluster-unauthenticated",
                      "the client is neither meshed nor in the cluster's networks");
    case InboundPolicy::deny:
      break;
  }
  return {false, "default:deny", "the pod's policy denies all clients", false};
}

bool policy_differs(const Pod& before, const Pod& now) {
  const auto policy = [](const Pod& pod) {
    return std::tie(pod.policy, pod.require_identity_ports, pod.ips, pod.outbound_port, pod.inbound_port);
  };
  return policy(before) != policy(now);
}

}  // namespace heddle::proxy
