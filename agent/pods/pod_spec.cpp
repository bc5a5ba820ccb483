// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_spec.h"

namespace heddle::agent {
namespace {

void decide_meshed(PodSpec& spec, bool known_to_source, const NodeFacts& node) {
  const auto& excluded = node.excluded_namespaces;
  if (spec.ns == node.control_namespace) {
    spec.reason = "its namespace is heddle's own";
  } else if (std::find(excluded.begin(), excluded.end(), spec.ns) != excluded.end()) {
    spec.reason = "its namespace is one of --excluded-namespaces";
  } else if (spec.settings.inject.has_value()) {
    spec.meshed = *spec.settings.inject;
    spec.reason = spec.meshed ? "linkerd.io/inject is enabled" : "linkerd.io/inject is disabled";
  } else if (known_to_source) {
    spec.reason = "neither the pod nor its namespace has linkerd.io/inject: enabled";
  } else {
    spec.meshed = node.inject_unknown_pods;
    spec.reason = spec.meshed ? "--default-inject is enabled" : "--default-inject is disabled";
  }
  if (spec.meshed && spec.addresses.empty()) {
    spec.meshed = false;
    spec.reason = "the sandbox has no address (the network plugin before heddle-cni reported none)";
  }
}

// Labels are for metrics. Whoever writes a pod must not make it too large to be told to a proxy.
void take_labels(const Annotations& labels, PodSpec& spec) {
  constexpr std::size_t max_bytes = 16 * 1024;
  std::size_t bytes = 0;
  for (const auto& [key, value] : labels) {
    bytes += key.size() + value.size() + 8;
    if (bytes > max_bytes) {
      spec.settings.complaints.push_back("labels exceed 16 KiB; those from '" + key.substr(0, 253) +
                                         "' on are not in metrics");
      return;
    }
    spec.labels[key] = value;
  }
}

}  // namespace

bool operator==(const PodSpec& a, const PodSpec& b) {
  const auto settings = [](const PodSettings& s) {
    return std::tie(s.skip_inbound_ports, s.skip_outbound_ports, s.skip_subnets, s.opaque_ports,
                    s.require_identity_ports, s.outbound_port, s.inbound_port, s.default_inbound_policy,
                    s.interception, s.fail_open, s.client_source, s.limits);
  };
  const auto fields = [](const PodSpec& s) {
    return std::tie(s.meshed, s.uid, s.ns, s.name, s.service_account, s.identity, s.addresses, s.labels);
  };
  return fields(a) == fields(b) && settings(a.settings) == settings(b.settings);
}

std::string identity_of(std::string_view service_account, std::string_view ns, const NodeFacts& node) {
  std::string out(service_account);
  out.append(".").append(ns).append(".serviceaccount.identity.").append(node.control_namespace);
  return out.append(".").append(node.trust_domain);
}

namespace {

// Sorted. Link-local addresses repeat from pod to pod, so they cannot name one.
std::vector<IpAddress> naming(std::vector<IpAddress> addresses) {
  std::erase_if(addresses, [](const IpAddress& ip) {
    return ip.is_loopback() || ip.is_unspecified() || ip.is_link_local();
  });
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  return addresses;
}

// What the source says of a pod whose sandbox was made anew are the addresses of the one before, until
// kubelet has told the API server: by now they may be another pod's.
std::vector<IpAddress> addresses_of(const SandboxFacts& facts) {
  std::vector<IpAddress> found = facts.netns_addresses;
  for (const auto& attachment : facts.attachments) {
    found.insert(found.end(), attachment.ips.begin(), attachment.ips.end());
  }
  found = naming(std::move(found));
  return found.empty() && facts.source ? naming(facts.source->ips) : found;
}

}  // namespace

PodSpec describe(const SandboxFacts& facts, const NodeFacts& node) {
  PodSpec spec;
  const bool known = facts.source.has_value();
  Annotations annotations = facts.annotations;
  if (known) {
    // The source's word is newer than what the runtime copied when the sandbox was made.
    for (const auto& [key, value] : facts.source->annotations) annotations[key] = value;
  }
  static const Annotations none;
  static const std::map<std::string, std::uint16_t, std::less<>> no_ports;
  spec.settings = parse_annotations(annotations, known ? facts.source->namespace_annotations : none,
                                    known ? facts.source->ports_by_name : no_ports);
  spec.ns = facts.pod_namespace.empty() ? "default" : facts.pod_namespace;
  spec.name = facts.pod_name.empty() ? facts.container_id : facts.pod_name;
  spec.uid = !facts.pod_uid.empty() ? facts.pod_uid : known ? facts.source->uid : "";
  if (spec.uid.empty()) spec.uid = facts.container_id;
  spec.service_account = known ? facts.source->service_account : "default";
  spec.identity = identity_of(spec.service_account, spec.ns, node);
  if (known) take_labels(facts.source->labels, spec);

  spec.addresses = addresses_of(facts);
  decide_meshed(spec, known, node);
  return spec;
}

}  // namespace heddle::agent
