// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"

namespace heddle::agent {

// The cgroup v2 folder of this node's kubelet, whose connections are probes: of the process of that name (or
// of k3s, which has it inside) that is root's, in the agent's network namespace and outside of all pods.
// `mount` is where cgroup v2 is mounted, `pods_cgroup` the folder of all pods. Errc::not_found tells why
// there is none, or none that is the kubelet's without being the pods' too.
Result<std::string> find_kubelet_cgroup(const std::string& mount, const std::string& pods_cgroup);

}  // namespace heddle::agent
