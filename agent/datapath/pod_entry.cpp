// SPDX-License-Identifier: Apache-2.0
#include "agent/datapath/pod_entry.h"

#include <cstring>

namespace heddle::agent {
namespace {

void copy_ip(__be32 (&to)[4], const IpAddress& from) {
  static_assert(sizeof to == 16);
  std::memcpy(to, from.bytes().data(), sizeof to);
}

Result<std::uint8_t> copy_ports(heddle_port_range (&to)[HEDDLE_MAX_SKIP_PORTS],
                                const std::vector<PortRange>& from, const char* what) {
  if (from.size() > HEDDLE_MAX_SKIP_PORTS) {
    return make_error(Errc::exhausted, std::string(what) + " has " + std::to_string(from.size()) +
                                           " ranges after merging; the limit is " +
                                           std::to_string(HEDDLE_MAX_SKIP_PORTS));
  }
  for (std::size_t i = 0; i < from.size(); ++i) to[i] = {from[i].low, from[i].high};
  return static_cast<std::uint8_t>(from.size());
}

Result<> check(const InterceptedPod& pod) {
  if (pod.netns_cookie == 0) return make_error(Errc::invalid_argument, "the pod's netns cookie is 0");
  if (pod.addresses.empty()) return make_error(Errc::invalid_argument, "the pod has no address");
  if (pod.outbound_port == 0 || pod.inbound_port == 0 || pod.outbound_port == pod.inbound_port) {
    return make_error(Errc::invalid_argument,
                      "the pod's outbound and inbound ports must be two different ports");
  }
  if (pod.skip_cidrs.size() > HEDDLE_MAX_SKIP_CIDRS) {
    return make_error(Errc::exhausted, "skip-subnets has " + std::to_string(pod.skip_cidrs.size()) +
                                           " prefixes after merging; the limit is " +
                                           std::to_string(HEDDLE_MAX_SKIP_CIDRS));
  }
  return {};
}

}  // namespace

heddle_ip_key to_key(const IpAddress& ip) {
  heddle_ip_key key{};
  copy_ip(key.ip, ip);
  return key;
}

IpAddress from_words(const __be32 (&words)[4]) {
  std::array<std::uint8_t, 16> bytes;
  std::memcpy(bytes.data(), words, sizeof words);
  return IpAddress(bytes);
}

SocketAddress from_abi(const heddle_address& address) {
  return {from_words(address.ip), address.port};
}

heddle_address to_abi(const SocketAddress& address) {
  heddle_address out{};
  copy_ip(out.ip, address.ip);
  out.port = address.port;
  return out;
}

std::optional<IpAddress> aim_address(const std::vector<IpAddress>& addresses, bool v4) {
  for (const auto& ip : addresses) {
    if (ip.is_v4() == v4 && !ip.is_loopback() && !ip.is_unspecified() && (v4 || !ip.is_link_local()))
      return ip;
  }
  return std::nullopt;
}

Result<heddle_pod> to_entry(const InterceptedPod& pod) {
  if (auto ok = check(pod); !ok) return ok.error();
  heddle_pod entry{};
  entry.id = pod.id;
  if (pod.fail_open) entry.flags |= HEDDLE_POD_FAIL_OPEN;
  if (pod.client_source) entry.flags |= HEDDLE_POD_CLIENT_SOURCE;
  if (const auto ip = aim_address(pod.addresses, true)) copy_ip(entry.ip4, *ip);
  if (const auto ip = aim_address(pod.addresses, false)) copy_ip(entry.ip6, *ip);
  entry.outbound_port = pod.outbound_port;
  entry.inbound_port = pod.inbound_port;
  const auto outbound = copy_ports(entry.skip_outbound, pod.skip_outbound_ports, "skip-outbound-ports");
  if (!outbound) return outbound.error();
  entry.skip_outbound_count = *outbound;
  const auto inbound = copy_ports(entry.skip_inbound, pod.skip_inbound_ports, "skip-inbound-ports");
  if (!inbound) return inbound.error();
  entry.skip_inbound_count = *inbound;
  for (const auto& cidr : pod.skip_cidrs) {
    auto& to = entry.skip_cidrs[entry.skip_cidr_count++];
    copy_ip(to.base, cidr.base);
    to.bits = cidr.bits;
  }
  return entry;
}

}  // namespace heddle::agent
