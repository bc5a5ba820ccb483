// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/pods/annotations.h"
#include "base/ip.h"

// From what the runtime and the source of Kubernetes' objects say of a sandbox to what heddle makes of it.
// Pure.
namespace heddle::agent {

// One ADD: a sandbox has one per network interface.
struct Attachment {
  std::string ifname;
  std::string network;
  std::vector<IpAddress> ips;

  bool operator==(const Attachment&) const = default;
};

// What Kubernetes knows of the pod.
struct SourcePod {
  std::string uid;
  std::string service_account = "default";
  Annotations annotations;
  Annotations namespace_annotations;
  Annotations labels;  // with the owner's: deployment, statefulset, ...
  std::vector<IpAddress> ips;
  std::map<std::string, std::uint16_t, std::less<>> ports_by_name;

  bool operator==(const SourcePod&) const = default;
};

// What the runtime told, and the last the source told. Kept in the state file.
struct SandboxFacts {
  std::string container_id;
  std::string netns_path;  // as the runtime spelt it
  std::uint64_t netns_cookie = 0;
  std::string pod_namespace;  // empty outside Kubernetes
  std::string pod_name;
  std::string pod_uid;
  Annotations annotations;  // the runtime's
  std::vector<Attachment> attachments;
  std::vector<IpAddress> netns_addresses;  // found in the netns at the last ADD
  std::optional<SourcePod> source;

  bool operator==(const SandboxFacts&) const = default;
};

struct NodeFacts {
  std::string node_name;
  std::string trust_domain = "cluster.local";
  std::string control_namespace = "heddle";
  bool inject_unknown_pods = false;                             // pods that the source does not know
  std::vector<std::string> excluded_namespaces{"kube-system"};  // never meshed, as is the control namespace
};

struct PodSpec {
  bool meshed = false;
  std::string reason;  // why, or why not: a sentence for `heddle status`
  std::string uid;
  std::string ns;
  std::string name;
  std::string service_account;
  std::string identity;
  std::vector<IpAddress> addresses;  // sorted, without loopback and link-local ones
  PodSettings settings;
  Annotations labels;
};
bool operator==(const PodSpec& a, const PodSpec& b);

PodSpec describe(const SandboxFacts& facts, const NodeFacts& node);

std::string identity_of(std::string_view service_account, std::string_view ns, const NodeFacts& node);

}  // namespace heddle::agent
