// SPDX-License-Identifier: Apache-2.0
#include "control/discovery/profile.h"

#include <algorithm>

#include "control/source/annotations.h"

namespace heddle::control {

using source::Pod;
using source::Service;
using source::Snapshot;

namespace {

bool is_opaque_by_default(std::uint16_t port) {
  static const auto ranges = PortRange::parse_list(source::default_opaque_ports).value();
  return std::ranges::any_of(ranges, [port](const PortRange& range) { return range.contains(port); });
}

Profile service_profile(const Snapshot& snapshot, ServiceTarget target, const MeshNames& names) {
  Profile profile;
  profile.fully_qualified_name = target.service + "." + target.ns + ".svc." + names.cluster_domain;
  if (const Service* service = snapshot.find_service(target.ns, target.service); service != nullptr) {
    profile.opaque = is_opaque_service_port(snapshot, *service, target.port);
    profile.service = std::move(target);
  } else {
    profile.opaque = is_opaque_by_default(target.port);
  }
  return profile;
}

Profile pod_profile(const Snapshot& snapshot, const Pod& pod, SocketAddress address, const MeshNames& names) {
  Profile profile;
  profile.endpoint_address = address;
  profile.endpoint = describe_pod(snapshot, pod, address.port, names);
  profile.endpoint.labels["namespace"] = pod.meta.ns;
  profile.opaque = is_opaque_port(pod, snapshot.find_namespace(pod.meta.ns), address.port);
  return profile;
}

Profile instance_profile(const Snapshot& snapshot, const ServiceTarget& target, const MeshNames& names) {
  const EndpointSet set = find_endpoints(snapshot, {target, {}}, names);
  if (set.endpoints.empty()) return service_profile(snapshot, target, names);
  const SocketAddress& address = set.endpoints.begin()->first;
  if (const Pod* pod = snapshot.pod_with_ip(address.ip); pod != nullptr) {
    return pod_profile(snapshot, *pod, address, names);
  }
  Profile profile;
  profile.endpoint_address = address;
  profile.endpoint = set.endpoints.begin()->second;
  profile.opaque = is_opaque_by_default(address.port);
  return profile;
}

}  // namespace

bool is_opaque_service_port(const Snapshot& snapshot, const Service& service, std::uint16_t port) {
  const source::Namespace* ns = snapshot.find_namespace(service.meta.ns);
  const bool annotated = annotation(service.meta, ns, source::opaque_ports_annotation) != nullptr;
  if (annotated && is_opaque_port(service, ns, port)) return true;
  const source::ServicePort* found = service.port(port);
  if (found != nullptr && !found->app_protocol.empty()) {
    return found->app_protocol != "http" && found->app_protocol != "kubernetes.io/h2c";
  }
  return !annotated && is_opaque_by_default(port);
}

Profile find_profile(const Snapshot& snapshot, const Target& target, const MeshNames& names) {
  if (const auto* service = std::get_if<ServiceTarget>(&target)) {
    return service->instance.empty() ? service_profile(snapshot, *service, names)
                                     : instance_profile(snapshot, *service, names);
  }
  const SocketAddress& address = std::get<SocketAddress>(target);
  if (const Service* service = snapshot.service_with_ip(address.ip); service != nullptr) {
    return service_profile(snapshot, {service->meta.ns, service->meta.name, {}, address.port}, names);
  }
  if (const Pod* pod = snapshot.pod_with_ip(address.ip); pod != nullptr) {
    return pod_profile(snapshot, *pod, address, names);
  }
  Profile profile;
  profile.opaque = is_opaque_by_default(address.port);
  return profile;
}

Inputs profile_inputs(const Snapshot& snapshot, const Target& target) {
  if (const auto* service = std::get_if<ServiceTarget>(&target))
    return endpoint_inputs(snapshot, {*service, {}});
  const IpAddress& ip = std::get<SocketAddress>(target).ip;
  if (const Service* service = snapshot.service_with_ip(ip); service != nullptr) {
    return {service, snapshot.find_namespace(service->meta.ns)};
  }
  const Pod* pod = snapshot.pod_with_ip(ip);
  if (pod == nullptr) return {};
  return {pod, snapshot.find_namespace(pod->meta.ns), snapshot.find_node(pod->node_name)};
}

}  // namespace heddle::control
