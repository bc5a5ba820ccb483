// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/source_pod.h"

#include <algorithm>

namespace heddle::agent {
namespace {

constexpr std::string_view mirror_annotation = "kubernetes.io/config.mirror";

// The owner's name under its kind in lower case, as Linkerd labels metrics. A Deployment's pods are owned by
// a ReplicaSet "<deployment>-<pod-template-hash>".
void add_owner_labels(const source::Pod& pod, Annotations& labels) {
  for (const auto& owner : pod.meta.owners) {
    if (!owner.controller) continue;
    std::string kind = owner.kind;
    std::transform(kind.begin(), kind.end(), kind.begin(), [](unsigned char c) { return std::tolower(c); });
    labels[kind] = owner.name;
    const auto hash = pod.meta.labels.find("pod-template-hash");
    if (kind != "replicaset" || hash == pod.meta.labels.end()) continue;
    const std::string suffix = "-" + hash->second;
    if (owner.name.ends_with(suffix))
      labels["deployment"] = owner.name.substr(0, owner.name.size() - suffix.size());
  }
}

}  // namespace

bool has_uid(const source::Pod& pod, std::string_view uid) {
  if (uid.empty() || pod.meta.uid.empty() || pod.meta.uid == uid) return true;
  const auto mirror = pod.meta.annotations.find(mirror_annotation);
  return mirror != pod.meta.annotations.end() && mirror->second == uid;
}

SourcePod source_pod(const source::Pod& pod, const source::Namespace* ns) {
  SourcePod out;
  out.uid = pod.meta.uid;
  out.service_account = pod.service_account;
  out.annotations.insert(pod.meta.annotations.begin(), pod.meta.annotations.end());
  if (ns != nullptr)
    out.namespace_annotations.insert(ns->meta.annotations.begin(), ns->meta.annotations.end());
  out.labels.insert(pod.meta.labels.begin(), pod.meta.labels.end());
  add_owner_labels(pod, out.labels);
  out.ips = pod.ips;
  for (const auto& port : pod.ports) {
    if (!port.name.empty() && port.protocol == source::Protocol::tcp)
      out.ports_by_name[port.name] = port.port;
  }
  return out;
}

bool runs_in_own_network(const source::Pod& pod) {
  return !pod.host_network && !pod.finished() && !pod.meta.deleting && !pod.ips.empty();
}

RunningPod running_pod(const source::Pod& pod, const source::Namespace* ns) {
  RunningPod out{pod.meta.ns, pod.meta.name, pod.meta.uid, source_pod(pod, ns)};
  if (const auto mirror = pod.meta.annotations.find(mirror_annotation);
      mirror != pod.meta.annotations.end() && !mirror->second.empty()) {
    out.cgroup_uid = mirror->second;
  }
  return out;
}

}  // namespace heddle::agent
