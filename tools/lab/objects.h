// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/lab/plan.h"

namespace heddle::tools {

// What is known of a running pod, as the API server would show it.
struct LabPodStatus {
  std::string phase = "Pending";  // Pending, Running, Succeeded, Failed
  bool ready = false;
  std::string host_ip;
  std::vector<std::string> ips;  // primary first
  std::string started;           // RFC 3339
};

// The Pod with its status. Pure.
boost::json::object pod_with_status(const LabPod& pod, const LabPodStatus& status);

// One EndpointSlice per address family of a Service with a selector, from the pods it selects: all running
// pods are listed, their readiness as a condition (what Kubernetes' controller does). Pure; sorted by pod
// name.
std::vector<boost::json::object> endpoint_slices(
    const LabService& service, const std::vector<std::pair<const LabPod*, LabPodStatus>>& pods);

// The container port a service port stands for in this pod; 0 when the name is unknown there.
std::uint16_t target_port(const LabServicePort& port, const LabPod& pod);

// The /etc/hosts of pods of namespace `ns`: localhost, every Service by all its DNS names, short ones for
// `ns`.
std::string hosts_file(const LabPlan& plan, const std::string& ns);

// nftables rules that stand in for kube-proxy in a node: each Service address and TCP port goes to a random
// ready endpoint. Replaces the table as a whole. Pure.
std::string service_rules(const LabPlan& plan,
                          const std::vector<std::pair<const LabPod*, LabPodStatus>>& pods);

}  // namespace heddle::tools
