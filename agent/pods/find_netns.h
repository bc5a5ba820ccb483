// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/ip.h"

namespace heddle::agent {

struct FoundNetns {
  Fd netns;
  std::uint64_t cookie = 0;
  std::vector<IpAddress> addresses;
};

// The network namespaces of pods that run already: those of processes in the pods' cgroups, checked against
// the pods' addresses, by the uid in the cgroup's name. A pod is missing whose processes cannot be seen (the
// agent needs the node's PID namespace) or have none of its addresses. Never the agent's own namespace. Takes
// milliseconds per hundred processes: not for the main thread.
std::map<std::string, FoundNetns> find_netns(const std::map<std::string, std::vector<IpAddress>>& ips_by_uid);

}  // namespace heddle::agent
