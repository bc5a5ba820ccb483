// SPDX-License-Identifier: Apache-2.0
#include "control/discovery/endpoints.h"

#include <algorithm>

#include "control/discovery/topology.h"
#include "control/source/annotations.h"

namespace heddle::control {

using source::Endpoint;
using source::EndpointPort;
using source::EndpointSlice;
using source::Pod;
using source::Protocol;
using source::Service;
using source::ServicePort;
using source::Snapshot;

namespace {

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  return text;
}

// A Deployment owns its pods through a ReplicaSet named after it and the template's hash.
void add_owner(const Pod& pod, source::Labels& labels) {
  const auto hash = pod.meta.labels.find("pod-template-hash");
  if (hash != pod.meta.labels.end()) labels["pod_template_hash"] = hash->second;
  const auto owner = std::ranges::find_if(pod.meta.owners, [](const auto& o) { return o.controller; });
  if (owner == pod.meta.owners.end() || owner->kind.empty()) return;
  if (owner->kind == "ReplicaSet" && hash != pod.meta.labels.end() &&
      owner->name.ends_with("-" + hash->second)) {
    labels["deployment"] = owner->name.substr(0, owner->name.size() - hash->second.size() - 1);
  } else if (owner->kind == "Job") {
    labels["k8s_job"] = owner->name;  // "job" is Prometheus' own
  } else if (owner->kind != "Node") {
    labels[lower(owner->kind)] = owner->name;
  }
}

// The number that `port` of the service has in this slice; 0: none.
std::uint16_t target_port(const EndpointSlice& slice, const ServicePort* port, std::uint16_t asked) {
  // A port the service does not list is the pods' own: headless services are dialled like that.
  if (port == nullptr) return asked;
  for (const EndpointPort& candidate : slice.ports) {
    if (candidate.protocol == Protocol::tcp && candidate.name == port->name) return candidate.port;
  }
  // Slices written by hand often leave the names out.
  const auto* number = std::get_if<std::uint16_t>(&port->target_port);
  for (const EndpointPort& candidate : slice.ports) {
    if (candidate.protocol == Protocol::tcp && number != nullptr && candidate.port == *number) return *number;
  }
  return 0;
}

EndpointInfo describe(const Snapshot& snapshot, const Endpoint& endpoint, const std::string& ns,
                      std::uint16_t port, const MeshNames& names) {
  EndpointInfo info;
  const Pod* pod = endpoint.pod.empty() ? nullptr : snapshot.find_pod(ns, endpoint.pod);
  if (pod != nullptr) info = describe_pod(snapshot, *pod, port, names);
  if (!endpoint.zone.empty()) info.labels["zone"] = endpoint.zone;
  return info;
}

// How near the endpoint is, as Linkerd labels it.
void add_locality(const std::string& client_zone, source::Labels& labels) {
  const auto zone = labels.find("zone");
  const bool known = !client_zone.empty() && zone != labels.end();
  labels["zone_locality"] = !known ? "unknown" : zone->second == client_zone ? "local" : "remote";
}

}  // namespace

EndpointInfo describe_pod(const Snapshot& snapshot, const Pod& pod, std::uint16_t port,
                          const MeshNames& names) {
  EndpointInfo info;
  const source::Namespace* ns = snapshot.find_namespace(pod.meta.ns);
  info.labels["pod"] = pod.meta.name;
  info.labels["serviceaccount"] = pod.service_account;
  add_owner(pod, info.labels);
  if (std::string zone = zone_of(snapshot, pod.node_name); !zone.empty())
    info.labels["zone"] = std::move(zone);
  if (!is_meshed(pod, ns)) return info;
  info.labels["control_plane_ns"] = names.control_namespace;
  if (skips_inbound(pod, ns, port)) return info;
  info.identity =
      source::identity_name(pod.service_account, pod.meta.ns, names.control_namespace, names.trust_domain);
  info.hint = is_opaque_port(pod, ns, port) ? Hint::opaque : Hint::http2;
  return info;
}

EndpointSet find_endpoints(const Snapshot& snapshot, const EndpointQuestion& question,
                           const MeshNames& names) {
  EndpointSet set;
  const ServiceTarget& target = question.target;
  const Service* service = snapshot.find_service(target.ns, target.service);
  if (service == nullptr) return set;
  set.exists = true;
  set.external = service->type == "ExternalName";
  set.labels = {{"namespace", target.ns}, {"service", target.service}};
  if (set.external) return set;

  const ServicePort* port = service->port(target.port);
  const std::string client_zone = zone_of(snapshot, question.client_node);
  for (const Candidate& candidate : choose_endpoints(snapshot, *service, question)) {
    const std::uint16_t number = target_port(*candidate.slice, port, target.port);
    if (number == 0) continue;
    EndpointInfo info = describe(snapshot, *candidate.endpoint, target.ns, number, names);
    add_locality(client_zone, info.labels);
    // Kubernetes: all addresses of one endpoint are the same; only the first is to be used.
    set.endpoints.emplace(SocketAddress{candidate.endpoint->addresses.front(), number}, std::move(info));
  }
  return set;
}

Inputs endpoint_inputs(const Snapshot& snapshot, const EndpointQuestion& question) {
  const ServiceTarget& target = question.target;
  Inputs inputs{snapshot.find_service(target.ns, target.service), snapshot.find_namespace(target.ns),
                snapshot.find_node(question.client_node)};
  for (const EndpointSlice* slice : snapshot.slices_of(target.ns, target.service)) {
    inputs.push_back(slice);
    for (const Endpoint& endpoint : slice->endpoints) {
      const Pod* pod = endpoint.pod.empty() ? nullptr : snapshot.find_pod(target.ns, endpoint.pod);
      if (pod == nullptr) continue;
      inputs.push_back(pod);
      inputs.push_back(snapshot.find_node(pod->node_name));
    }
  }
  return inputs;
}

EndpointChange compare_endpoints(const EndpointSet* before, const EndpointSet& after) {
  EndpointChange change;
  if (before != nullptr && *before == after) return change;
  if (after.endpoints.empty()) {
    // Also when only the service's existence changed: the client tells the two apart.
    change.none_left = before == nullptr || !before->endpoints.empty() || before->exists != after.exists;
    return change;
  }
  static const EndpointSet nothing;
  const EndpointSet& old = before == nullptr ? nothing : *before;
  for (const auto& [address, info] : old.endpoints) {
    if (!after.endpoints.contains(address)) change.removed.push_back(address);
  }
  for (const auto& [address, info] : after.endpoints) {
    const auto known = old.endpoints.find(address);
    if (known == old.endpoints.end() || known->second != info || old.labels != after.labels) {
      change.added.push_back(address);
    }
  }
  return change;
}

}  // namespace heddle::control
