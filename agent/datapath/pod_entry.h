// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "agent/datapath/datapath.h"

// Pure translation between the agent's types and bpf/shared/abi.h.
namespace heddle::agent {

heddle_ip_key to_key(const IpAddress& ip);
IpAddress from_words(const __be32 (&words)[4]);
SocketAddress from_abi(const heddle_address& address);
heddle_address to_abi(const SocketAddress& address);

// The address of that family that connects are aimed at: the first that needs no scope. IPv6 link-local ones
// do.
std::optional<IpAddress> aim_address(const std::vector<IpAddress>& addresses, bool v4);

// The map entry of a pod, not enrolled. Errc::exhausted names the limit that the pod's lists exceed,
// Errc::invalid_argument what is missing (addresses, ports, cookie).
Result<heddle_pod> to_entry(const InterceptedPod& pod);

}  // namespace heddle::agent
