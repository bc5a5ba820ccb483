// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "agent/pods/pod_spec.h"
#include "control/source/objects.h"

namespace heddle::agent {

// A pod that the source says runs on this node: it has addresses, and a network namespace of its own.
struct RunningPod {
  std::string ns;
  std::string name;
  std::string cgroup_uid;  // the uid in the names of its cgroups: a static pod's is not the API server's
  SourcePod pod;
};

// The sandbox's uid (K8S_POD_UID) is this pod's. The kubelet gives a static pod another uid than its mirror
// in the API server has, and tells the mirror of it by an annotation. Empty: any.
bool has_uid(const source::Pod& pod, std::string_view uid);

// `ns` may be null: not known.
SourcePod source_pod(const source::Pod& pod, const source::Namespace* ns);

// It may be enrolled where it runs: own network, not finished, not going, with addresses.
bool runs_in_own_network(const source::Pod& pod);
RunningPod running_pod(const source::Pod& pod, const source::Namespace* ns);

}  // namespace heddle::agent
