// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tools/lab/plan.h"

namespace heddle::tools {

// Starts one httpGet or tcpSocket probe as a child process in the node's namespace and the kubelet's cgroup,
// where a node's own probes come from. It exits 0 when the probe passed, by itself within the probe's
// timeout.
Result<pid_t> start_network_probe(const LabProbe& probe, const std::string& pod_ip, int node_netns,
                                  const std::string& kubelet_cgroup);

// The probe itself, in the calling process (blocks; no allocation limits). HTTP 200 to 399 passes, as with
// Kubernetes.
bool run_network_probe(const LabProbe& probe, const std::string& pod_ip);

}  // namespace heddle::tools
