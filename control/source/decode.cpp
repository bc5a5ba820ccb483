// SPDX-License-Identifier: Apache-2.0
#include "control/source/decode.h"

#include <memory>

#include "control/source/reader.h"

namespace heddle::source {

const Value* Value::find(std::string_view key) const {
  for (const auto& [name, value] : fields) {
    if (name == key) return &value;
  }
  return nullptr;
}

namespace {

void add_container_ports(Reader& in, const Value* containers, bool restartable_only, Pod& pod) {
  in.each(containers, [&](const Value& container) {
    // Init containers with restartPolicy Always are sidecars: they run, and may be a service's target.
    if (restartable_only && in.text(&container, "restartPolicy") != "Always") return;
    in.each_in(&container, "ports", [&](const Value& item) {
      ContainerPort port;
      port.name = in.text(&item, "name");
      port.port = in.port(&item, "containerPort");
      port.protocol = in.protocol(&item);
      pod.ports.push_back(std::move(port));
    });
  });
}

Pod decode_pod(Reader& in, const Value& object) {
  Pod pod;
  pod.meta = in.meta(object, true);
  const Value* spec = in.map(&object, "spec");
  pod.node_name = in.text(spec, "nodeName");
  if (std::string account = in.text(spec, "serviceAccountName"); !account.empty()) {
    pod.service_account = std::move(account);
  }
  pod.host_network = in.flag(spec, "hostNetwork", false);
  add_container_ports(in, in.list(spec, "containers"), false, pod);
  add_container_ports(in, in.list(spec, "initContainers"), true, pod);

  const Value* status = in.map(&object, "status");
  pod.phase = in.text(status, "phase");
  in.add_ip(status, "podIP", pod.ips);
  in.each_in(status, "podIPs", [&](const Value& item) { in.add_ip(&item, "ip", pod.ips); });
  in.each_in(status, "conditions", [&](const Value& condition) {
    if (in.text(&condition, "type") == "Ready") pod.ready = in.text(&condition, "status") == "True";
  });
  return pod;
}

Node decode_node(Reader& in, const Value& object) {
  Node node;
  node.meta = in.meta(object, false);
  in.each_in(in.map(&object, "status"), "addresses", [&](const Value& address) {
    if (in.text(&address, "type") == "InternalIP") in.add_ip(&address, "address", node.internal_ips);
  });
  in.each_in(in.map(&object, "spec"), "taints", [&](const Value& taint) {
    if (in.text(&taint, "key") == startup_taint) node.startup_tainted = true;
  });
  return node;
}

Service decode_service(Reader& in, const Value& object) {
  Service service;
  service.meta = in.meta(object, true);
  const Value* spec = in.map(&object, "spec");
  if (std::string type = in.text(spec, "type"); !type.empty()) service.type = std::move(type);
  service.external_name = in.text(spec, "externalName");
  service.headless = in.text(spec, "clusterIP") == "None";
  if (!service.headless) {
    in.add_ip(spec, "clusterIP", service.cluster_ips);
    in.each_in(spec, "clusterIPs", [&](const Value& item) { in.add_ip(item, service.cluster_ips); });
  }
  service.selector = in.labels(spec, "selector");
  service.local_traffic_only = in.text(spec, "internalTrafficPolicy") == "Local";
  in.each_in(spec, "ports", [&](const Value& item) {
    ServicePort port;
    port.name = in.text(&item, "name");
    port.protocol = in.protocol(&item);
    port.port = in.port(&item, "port");
    port.target_port = in.port_or_name(&item, "targetPort", port.port);
    port.app_protocol = in.text(&item, "appProtocol");
    service.ports.push_back(std::move(port));
  });
  return service;
}

EndpointPort decode_endpoint_port(Reader& in, const Value& item) {
  EndpointPort port;
  port.name = in.text(&item, "name");
  port.protocol = in.protocol(&item);
  port.port = in.port(&item, "port");
  port.app_protocol = in.text(&item, "appProtocol");
  return port;
}

// Only a Pod can be meshed; other targets (Node, ExternalWorkload) are plain addresses.
std::string target_pod(Reader& in, const Value& endpoint) {
  const Value* target = in.map(&endpoint, "targetRef");
  return in.text(target, "kind") == "Pod" ? in.text(target, "name") : std::string();
}

EndpointSlice decode_slice(Reader& in, const Value& object) {
  EndpointSlice slice;
  slice.meta = in.meta(object, true);
  if (const auto label = slice.meta.labels.find("kubernetes.io/service-name");
      label != slice.meta.labels.end()) {
    slice.service = label->second;
  }
  in.each_in(&object, "ports", [&](const Value& item) {
    // No port means "every port"; no service port maps to that.
    if (const Value* port = item.find("port"); port != nullptr && port->kind != Value::Kind::null)
      slice.ports.push_back(decode_endpoint_port(in, item));
  });
  // Names of hosts are for DNS to resolve, not endpoints to balance over.
  if (in.text(&object, "addressType") == "FQDN") return slice;
  in.each_in(&object, "endpoints", [&](const Value& item) {
    Endpoint endpoint;
    in.each_in(&item, "addresses", [&](const Value& address) { in.add_ip(address, endpoint.addresses); });
    const Value* conditions = in.map(&item, "conditions");
    endpoint.ready = in.flag(conditions, "ready", true);
    endpoint.serving = in.flag(conditions, "serving", endpoint.ready);
    endpoint.terminating = in.flag(conditions, "terminating", false);
    endpoint.hostname = in.text(&item, "hostname");
    endpoint.node_name = in.text(&item, "nodeName");
    endpoint.zone = in.text(&item, "zone");
    // v1beta1 says both in a map of labels.
    const Value* topology = in.map(&item, "topology");
    if (endpoint.node_name.empty()) endpoint.node_name = in.text(topology, "kubernetes.io/hostname");
    if (endpoint.zone.empty()) endpoint.zone = in.text(topology, "topology.kubernetes.io/zone");
    endpoint.pod = target_pod(in, item);
    in.each_in(in.map(&item, "hints"), "forZones",
               [&](const Value& zone) { endpoint.hint_zones.push_back(in.text(&zone, "name")); });
    slice.endpoints.push_back(std::move(endpoint));
  });
  return slice;
}

void add_endpoint_addresses(Reader& in, const Value& subset, std::string_view key, bool ready,
                            EndpointSlice& slice) {
  in.each_in(&subset, key, [&](const Value& item) {
    Endpoint endpoint;
    in.add_ip(&item, "ip", endpoint.addresses);
    endpoint.ready = ready;
    endpoint.serving = ready;
    endpoint.hostname = in.text(&item, "hostname");
    endpoint.node_name = in.text(&item, "nodeName");
    endpoint.pod = target_pod(in, item);
    slice.endpoints.push_back(std::move(endpoint));
  });
}

// One slice per subset: the older API's subsets have their own lists of ports.
void decode_endpoints(Reader& in, const Value& object, Objects& out) {
  const Meta meta = in.meta(object, true);
  std::size_t index = 0;
  in.each_in(&object, "subsets", [&](const Value& subset) {
    EndpointSlice slice;
    slice.meta = meta;
    slice.meta.name += "/subset-" + std::to_string(index++);
    slice.service = meta.name;
    in.each_in(&subset, "ports",
               [&](const Value& item) { slice.ports.push_back(decode_endpoint_port(in, item)); });
    add_endpoint_addresses(in, subset, "addresses", true, slice);
    add_endpoint_addresses(in, subset, "notReadyAddresses", false, slice);
    out.slices.push_back(std::make_shared<const EndpointSlice>(std::move(slice)));
  });
}

template <class T>
void push(std::vector<std::shared_ptr<const T>>& list, T object) {
  list.push_back(std::make_shared<const T>(std::move(object)));
}

void decode_one(Reader& in, const Value& object, std::size_t depth, Objects& out) {
  const std::string kind = in.text(&object, "kind");
  const std::string api = in.text(&object, "apiVersion");
  if (kind.empty() || api.empty()) {
    return in.fail(object, "has no kind or no apiVersion; every document must be a Kubernetes object");
  }
  const bool core = api == "v1";
  if (kind.ends_with("List") && object.find("items") != nullptr) {
    if (depth >= 4) return in.fail(object, "lists nested in lists");
    return in.each_in(&object, "items", [&](const Value& item) { decode_one(in, item, depth + 1, out); });
  }
  in.enter(object, kind);
  if (core && kind == "Pod") push(out.pods, decode_pod(in, object));
  if (core && kind == "Namespace") push(out.namespaces, Namespace{in.meta(object, false)});
  if (core && kind == "Node") push(out.nodes, decode_node(in, object));
  if (core && kind == "ServiceAccount") push(out.service_accounts, ServiceAccount{in.meta(object, true)});
  if (core && kind == "Service") push(out.services, decode_service(in, object));
  if (core && kind == "Endpoints") decode_endpoints(in, object, out);
  if (api.starts_with("discovery.k8s.io/") && kind == "EndpointSlice")
    push(out.slices, decode_slice(in, object));
}

}  // namespace

Result<> decode(const Value& document, Objects& objects) {
  Reader in;
  if (document.kind != Value::Kind::map) {
    in.fail(document, "is not a Kubernetes object (a map with kind and apiVersion)");
  } else {
    decode_one(in, document, 0, objects);
  }
  return in.result();
}

Result<Objects> parse_objects(std::string_view text, Format format, const Limits& limits) {
  const auto documents = format == Format::json ? read_json(text, limits) : read_yaml(text, limits);
  if (!documents) return documents.error();
  Objects objects;
  for (const Value& document : *documents) {
    if (auto done = decode(document, objects); !done) return done.error();
  }
  return objects;
}

}  // namespace heddle::source
