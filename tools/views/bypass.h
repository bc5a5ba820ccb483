// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <map>
#include <string>

#include "base/ip.h"
#include "base/result.h"

namespace heddle::tools {

// Real connections that tell whether a pod's traffic is taken over. Nobody but heddle can answer either of
// them, and both are reset as soon as they are answered.

// What to try, and from where.
struct BypassTrial {
  std::string pod_netns;   // path
  std::string node_netns;  // path; empty: the caller's
  pid_t pid = 0;           // a process of the pod: the hooks know pods by their cgroup
  IpAddress ip;            // of the pod
};

// From within the pod to an address reserved for documentation (RFC 5737, RFC 3849): answered by the pod's
// outbound listener, or by nobody. An error says what happened instead, by its errno.
Result<> try_outbound(const BypassTrial& trial);
// From the node to a port of the pod where no program listens: answered by the pod's inbound listener, or
// refused by the kernel.
Result<> try_inbound(const BypassTrial& trial);

// A process of each network namespace of this machine, by the namespace's inode: one walk over /proc.
std::map<ino_t, pid_t> processes_by_netns();

}  // namespace heddle::tools
