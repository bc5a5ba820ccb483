// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"

// What annotations of a pod, else of its namespace, ask of its interception. Pure.
namespace heddle::agent {

using Annotations = std::map<std::string, std::string, std::less<>>;

inline constexpr std::string_view default_opaque_ports = "25,587,3306,4444,5432,6379,9300,11211";
inline constexpr std::string_view default_inbound_policy_name = "all-unauthenticated";
inline constexpr std::uint16_t default_outbound_port = 4140;
inline constexpr std::uint16_t default_inbound_port = 4143;

enum class InterceptionChoice : std::uint8_t { automatic, ebpf, iptables };

// What a pod may use of its node's proxy; 0: not said, the proxy's flags decide.
struct PodLimits {
  std::uint32_t connections = 0;
  std::uint32_t requests = 0;
  std::uint64_t buffered_bytes = 0;
  std::uint32_t accepts_per_second = 0;
  std::uint32_t cpu_weight = 0;

  bool operator==(const PodLimits&) const = default;
};

struct PodSettings {
  std::optional<bool> inject;  // linkerd.io/inject; empty: not said
  std::vector<PortRange> skip_inbound_ports;
  std::vector<PortRange> skip_outbound_ports;
  std::vector<Cidr> skip_subnets;
  std::vector<PortRange> opaque_ports;
  std::vector<PortRange> require_identity_ports;
  std::uint16_t outbound_port = default_outbound_port;
  std::uint16_t inbound_port = default_inbound_port;
  std::string default_inbound_policy{default_inbound_policy_name};
  InterceptionChoice interception = InterceptionChoice::automatic;
  bool fail_open = false;
  bool client_source = true;
  PodLimits limits;
  // One sentence for each annotation that was not understood; its default holds then.
  std::vector<std::string> complaints;
};

// `ports_by_name`: the pod's named container ports, for opaque-ports. Values longer than 4096 bytes are
// refused.
PodSettings parse_annotations(const Annotations& pod, const Annotations& ns,
                              const std::map<std::string, std::uint16_t, std::less<>>& ports_by_name = {});

// Sorted, overlapping and adjacent ranges joined.
std::vector<PortRange> merged(std::vector<PortRange> ranges);

}  // namespace heddle::agent
