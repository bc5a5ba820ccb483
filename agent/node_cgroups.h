// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "agent/datapath/datapath.h"
#include "base/result.h"

// Where on this node the programs go. Called from the node's cgroup namespace.
namespace heddle::agent {

// What the operator chose: a folder, or "auto"; for probes also "none" or nothing.
struct CgroupChoice {
  std::string pods = "auto";
  std::string probe = "auto";
};

// Sets the pods', the mesh's and the kubelet's cgroup of `out`. The error says what is missing and what to
// do; a pods' cgroup may be missing only until the kubelet makes it.
Result<> find_node_cgroups(const CgroupChoice& choice, Datapath::Options& out);

// The agent's own cgroup as nat rules name it, below the mount; empty where rules cannot go by it.
std::string mesh_cgroup_of_rules();

// The cgroup v2 folder of all pods: the one that `mesh_cgroup` (the agent's own) is in if the agent is a pod
// itself, else one of such a name at most two levels below `mount`, rather one with processes. Where v1
// carries the controllers (`mountinfo` tells) it is made if only the kubelet's v1 cgroups exist: the runtime
// would make the very same folder, but only after the network of its first pod.
Result<std::string> find_pods_cgroup(const std::string& mount, const std::string& mesh_cgroup,
                                     std::string_view mountinfo);

}  // namespace heddle::agent
