// SPDX-License-Identifier: Apache-2.0
#include "proxy/listen/link_protocol.h"

#include <algorithm>

#include "api/node.pb.h"

namespace heddle::proxy {
namespace {

constexpr int max_ips = 16;
constexpr int max_ranges = 1024;
constexpr std::size_t max_name = 1024;
constexpr int max_labels = 256;

struct PolicyName {
  const char* name;
  InboundPolicy policy;
};
constexpr PolicyName policy_names[] = {
    {"all-unauthenticated", InboundPolicy::all_unauthenticated},
    {"all-authenticated", InboundPolicy::all_authenticated},
    {"cluster-unauthenticated", InboundPolicy::cluster_unauthenticated},
    {"cluster-authenticated", InboundPolicy::cluster_authenticated},
    {"deny", InboundPolicy::deny},
    {"audit", InboundPolicy::audit},
};

Result<InboundPolicy> parse_policy(const std::string& name) {
  if (name.empty()) return InboundPolicy::all_unauthenticated;
  for (const PolicyName& each : policy_names) {
    if (name == each.name) return each.policy;
  }
  return make_error(Errc::invalid_argument, "unknown default inbound policy '" + name + "'");
}

const char* policy_name(InboundPolicy policy) {
  for (const PolicyName& each : policy_names) {
    if (policy == each.policy) return each.name;
  }
  return "deny";
}

template <class Ranges>
Result<std::vector<PortRange>> to_ranges(const Ranges& ranges) {
  if (ranges.size() > max_ranges) return make_error(Errc::invalid_argument, "too many port ranges");
  std::vector<PortRange> out;
  for (const auto& range : ranges) {
    if (range.low() > range.high() || range.high() > 65535) {
      return make_error(Errc::invalid_argument, "port range " + std::to_string(range.low()) + "-" +
                                                    std::to_string(range.high()) + " is not one");
    }
    out.push_back({static_cast<std::uint16_t>(range.low()), static_cast<std::uint16_t>(range.high())});
  }
  return out;
}

Result<> check(const node::Pod& message) {
  const bool ports = message.outbound_port() >= 1 && message.outbound_port() <= 65535 &&
                     message.inbound_port() >= 1 && message.inbound_port() <= 65535 &&
                     message.outbound_port() != message.inbound_port();
  if (!ports)
    return make_error(Errc::invalid_argument, "outbound and inbound port must be two of 1 to 65535");
  if (message.ips().empty() || message.ips_size() > max_ips) {
    return make_error(Errc::invalid_argument, "a pod has 1 to 16 addresses");
  }
  if (message.identity().empty()) return make_error(Errc::invalid_argument, "the pod has no identity");
  const bool long_names = message.identity().size() > max_name || message.name().size() > max_name ||
                          message.namespace_().size() > max_name || message.uid().size() > max_name;
  if (long_names || message.labels_size() > max_labels) {
    return make_error(Errc::invalid_argument, "a name is too long or there are too many labels");
  }
  return {};
}

PodLimits to_limits(const node::PodLimits& message) {
  PodLimits limits;
  limits.connections = message.connections();
  limits.requests = message.requests();
  limits.buffered_bytes = message.buffered_bytes();
  limits.accepts_per_second = message.accepts_per_second();
  limits.cpu_weight = std::min<std::uint32_t>(message.cpu_weight(), 10'000);
  return limits;
}

Result<std::shared_ptr<Pod>> to_pod(const node::Pod& message) {
  if (auto checked = check(message); !checked) return checked.error();
  auto policy = parse_policy(message.default_inbound_policy());
  if (!policy) return policy.error();
  auto opaque = to_ranges(message.opaque_ports());
  if (!opaque) return opaque.error();
  auto require_identity = to_ranges(message.require_identity_ports());
  if (!require_identity) return require_identity.error();
  auto pod = std::make_shared<Pod>();
  for (const std::string& text : message.ips()) {
    auto ip = IpAddress::parse(text);
    if (!ip) return ip.error();
    pod->ips.push_back(*ip);
  }
  pod->id = message.id();
  pod->netns_cookie = message.netns_cookie();
  pod->generation = message.generation();
  pod->uid = message.uid();
  pod->ns = message.namespace_();
  pod->name = message.name();
  pod->service_account = message.service_account();
  pod->identity = message.identity();
  pod->node_name = message.node_name();
  pod->trust_domain = message.trust_domain();
  pod->outbound_port = static_cast<std::uint16_t>(message.outbound_port());
  pod->inbound_port = static_cast<std::uint16_t>(message.inbound_port());
  pod->interception = message.interception() == node::IPTABLES ? Interception::iptables : Interception::ebpf;
  pod->policy = *policy;
  pod->opaque_ports = std::move(*opaque);
  pod->require_identity_ports = std::move(*require_identity);
  pod->labels.insert(message.labels().begin(), message.labels().end());
  pod->keep_client_source = message.keep_client_source();
  pod->limits = to_limits(message.limits());
  return pod;
}

void to_message(const std::vector<PortRange>& ranges,
                google::protobuf::RepeatedPtrField<node::PortRange>& out) {
  for (const PortRange& range : ranges) {
    node::PortRange& added = *out.Add();
    added.set_low(range.low);
    added.set_high(range.high);
  }
}

AgentMessage decode_upsert(const node::Pod& message, std::size_t descriptors) {
  auto pod = to_pod(message);
  if (!pod) return AgentPodRejected{message.id(), message.generation(), pod.error().message()};
  // Without descriptors it changes a pod whose listeners are held already.
  if (descriptors != 0 && descriptors != 2) {
    return AgentPodRejected{message.id(), message.generation(), "two listeners must come beside a pod"};
  }
  return AgentPodUpsert{std::move(*pod)};
}

AgentCertificate decode_certificate(const node::ToProxy::Certificate& message) {
  return {message.identity(),
          message.leaf(),
          {message.intermediates().begin(), message.intermediates().end()},
          message.valid_until_unix(),
          message.error()};
}

std::string serialize(const node::FromProxy& message) {
  return message.SerializeAsString();
}

}  // namespace

Result<AgentMessage> decode_agent_message(std::string_view bytes, std::size_t descriptors) {
  node::ToProxy message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return make_error(Errc::protocol, "the agent's message is not a ToProxy message");
  }
  switch (message.message_case()) {
    case node::ToProxy::kWelcome:
      return AgentMessage(AgentWelcome{message.welcome().agent_version(), message.welcome().node_name()});
    case node::ToProxy::kPodUpsert:
      return decode_upsert(message.pod_upsert().pod(), descriptors);
    case node::ToProxy::kPodRemove:
      return AgentMessage(AgentPodRemove{message.pod_remove().id(), message.pod_remove().netns_cookie(),
                                         message.pod_remove().grace_seconds()});
    case node::ToProxy::kSnapshotEnd:
      return AgentMessage(AgentSnapshotEnd{message.snapshot_end().pods()});
    case node::ToProxy::kSockets: {
      const auto& sockets = message.sockets();
      return AgentMessage(AgentSockets{sockets.pod_id(), sockets.ipv6(), sockets.request(), sockets.error(),
                                       sockets.prepared()});
    }
    case node::ToProxy::kCertificate:
      return AgentMessage(decode_certificate(message.certificate()));
    case node::ToProxy::kDrain:
      return AgentMessage(AgentDrain{message.drain().grace_seconds()});
    case node::ToProxy::kHolding:
      return AgentMessage(AgentHolding{});
    case node::ToProxy::MESSAGE_NOT_SET:
      break;
  }
  return AgentMessage(AgentUnknown{});
}

std::string encode_hello(const std::string& version, std::uint32_t pid, std::uint64_t started_unix_ms,
                         bool draining) {
  node::FromProxy message;
  message.mutable_hello()->set_version(version);
  message.mutable_hello()->set_pid(pid);
  message.mutable_hello()->set_started_unix_ms(started_unix_ms);
  message.mutable_hello()->set_draining(draining);
  return serialize(message);
}

std::string encode_held(const Pod& pod) {
  node::FromProxy message;
  node::Pod& out = *message.mutable_held()->mutable_pod();
  out.set_id(pod.id);
  out.set_netns_cookie(pod.netns_cookie);
  out.set_generation(pod.generation);
  out.set_uid(pod.uid);
  out.set_namespace_(pod.ns);
  out.set_name(pod.name);
  out.set_service_account(pod.service_account);
  out.set_identity(pod.identity);
  out.set_node_name(pod.node_name);
  out.set_trust_domain(pod.trust_domain);
  for (const IpAddress& ip : pod.ips) out.add_ips(ip.to_string());
  out.set_outbound_port(pod.outbound_port);
  out.set_inbound_port(pod.inbound_port);
  out.set_interception(pod.interception == Interception::iptables ? node::IPTABLES : node::EBPF);
  out.set_default_inbound_policy(policy_name(pod.policy));
  to_message(pod.opaque_ports, *out.mutable_opaque_ports());
  to_message(pod.require_identity_ports, *out.mutable_require_identity_ports());
  for (const auto& [name, value] : pod.labels) (*out.mutable_labels())[name] = value;
  out.set_keep_client_source(pod.keep_client_source);
  node::PodLimits& limits = *out.mutable_limits();
  limits.set_connections(pod.limits.connections);
  limits.set_requests(pod.limits.requests);
  limits.set_buffered_bytes(pod.limits.buffered_bytes);
  limits.set_accepts_per_second(pod.limits.accepts_per_second);
  limits.set_cpu_weight(pod.limits.cpu_weight);
  return serialize(message);
}

std::string encode_held_end(std::uint32_t pods) {
  node::FromProxy message;
  message.mutable_held_end()->set_pods(pods);
  return serialize(message);
}

std::string encode_pod_ack(std::uint32_t id, std::uint64_t generation, const std::string& error) {
  node::FromProxy message;
  message.mutable_pod_ack()->set_id(id);
  message.mutable_pod_ack()->set_generation(generation);
  message.mutable_pod_ack()->set_error(error);
  return serialize(message);
}

std::string encode_snapshot_ack(std::uint32_t pods) {
  node::FromProxy message;
  message.mutable_snapshot_ack()->set_pods(pods);
  return serialize(message);
}

std::string encode_socket_request(std::uint32_t pod_id, bool ipv6, std::uint32_t count,
                                  std::uint64_t request) {
  node::FromProxy message;
  message.mutable_socket_request()->set_pod_id(pod_id);
  message.mutable_socket_request()->set_ipv6(ipv6);
  message.mutable_socket_request()->set_count(count);
  message.mutable_socket_request()->set_request(request);
  return serialize(message);
}

std::string encode_certify_request(const std::string& identity, std::uint32_t pod_id,
                                   const std::string& csr) {
  node::FromProxy message;
  message.mutable_certify_request()->set_identity(identity);
  message.mutable_certify_request()->set_pod_id(pod_id);
  message.mutable_certify_request()->set_csr(csr);
  return serialize(message);
}

std::string encode_drained(std::uint32_t connections_cut) {
  node::FromProxy message;
  message.mutable_drained()->set_connections_cut(connections_cut);
  return serialize(message);
}

}  // namespace heddle::proxy
