// SPDX-License-Identifier: Apache-2.0
#include "agent/proxy_link/message.h"

#include "api/node.pb.h"
#include "base/io/unix_message.h"

namespace heddle::agent {
namespace {

constexpr std::size_t max_csr_bytes = 16 * 1024;
constexpr std::size_t max_name_bytes = 253;
constexpr std::size_t max_text_bytes = 1024;
constexpr std::uint32_t max_sockets_per_request = 1024;
constexpr int max_ips = 1024;

Error malformed(const std::string& what) {
  return make_error(Errc::invalid_argument, "malformed message from a proxy: " + what);
}

// What goes into a log line: a proxy's words must not look like ours.
void make_printable(std::string& text) {
  if (text.size() > max_text_bytes) text.resize(max_text_bytes);
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 127 || c == '"') c = '?';
  }
}

bool is_name(const std::string& text) {
  return text.size() <= max_name_bytes && std::all_of(text.begin(), text.end(), [](char c) {
           return static_cast<unsigned char>(c) >= 0x20 && c != 127 && c != '"';
         });
}

// A sandbox may be rebuilt from it (agent/recovery.cpp), and is written to the state file then.
Result<> check_held(const node::Pod& pod) {
  if (pod.id() == 0 || pod.netns_cookie() == 0) return malformed("Held without a pod");
  if (!is_name(pod.namespace_()) || !is_name(pod.name()) || !is_name(pod.uid()))
    return malformed("Held of a pod whose name is too long or no name");
  if (pod.outbound_port() > 65535 || pod.inbound_port() > 65535)
    return malformed("Held with ports that are none");
  if (pod.ips_size() > max_ips) return malformed("Held with more than 1024 addresses");
  return {};
}

void add_ranges(const std::vector<PortRange>& ranges,
                google::protobuf::RepeatedPtrField<node::PortRange>& out) {
  for (const auto& range : ranges) {
    auto* added = out.Add();
    added->set_low(range.low);
    added->set_high(range.high);
  }
}

}  // namespace

Result<> decode_from_proxy(std::string_view bytes, std::size_t descriptors, node::FromProxy& out) {
  if (bytes.size() > max_unix_message_bytes ||
      !out.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return malformed("no FromProxy of api/node.proto");
  }
  const std::size_t wanted = out.message_case() == node::FromProxy::kHeld ? 2 : 0;
  if (out.message_case() != node::FromProxy::MESSAGE_NOT_SET && descriptors != wanted) {
    return malformed(std::to_string(descriptors) + " descriptors beside it instead of " +
                     std::to_string(wanted));
  }
  switch (out.message_case()) {
    case node::FromProxy::MESSAGE_NOT_SET:
      return make_error(Errc::unsupported,
                        "a message of an unknown kind (agent and proxy differ in version)");
    case node::FromProxy::kHello:
      if (out.hello().version().size() > max_text_bytes) return malformed("version too long");
      make_printable(*out.mutable_hello()->mutable_version());
      break;
    case node::FromProxy::kHeld:
      return check_held(out.held().pod());
    case node::FromProxy::kPodAck:
      make_printable(*out.mutable_pod_ack()->mutable_error());
      break;
    case node::FromProxy::kSocketRequest:
      if (out.socket_request().count() == 0 || out.socket_request().count() > max_sockets_per_request) {
        return malformed("SocketRequest for " + std::to_string(out.socket_request().count()) + " sockets");
      }
      break;
    case node::FromProxy::kCertifyRequest:
      if (out.certify_request().identity().empty() ||
          out.certify_request().identity().size() > max_name_bytes) {
        return malformed("CertifyRequest without an identity of at most 253 bytes");
      }
      if (!is_name(out.certify_request().identity())) return malformed("CertifyRequest for no identity");
      if (out.certify_request().csr().empty() || out.certify_request().csr().size() > max_csr_bytes) {
        return malformed("CertifyRequest without a CSR of at most 16 KiB");
      }
      break;
    default:
      break;
  }
  return {};
}

void describe_pod(const Sandbox& sandbox, const NodeFacts& facts, node::Pod& out) {
  const PodSpec& spec = sandbox.spec;
  out.set_id(sandbox.pod_id);
  out.set_netns_cookie(sandbox.facts.netns_cookie);
  out.set_uid(spec.uid);
  out.set_namespace_(spec.ns);
  out.set_name(spec.name);
  out.set_service_account(spec.service_account);
  out.set_identity(spec.identity);
  for (const auto& ip : spec.addresses) out.add_ips(ip.to_string());
  out.set_outbound_port(sandbox.outbound_port);
  out.set_inbound_port(sandbox.inbound_port);
  out.set_interception(sandbox.mode == Mode::ebpf ? node::EBPF : node::IPTABLES);
  add_ranges(spec.settings.opaque_ports, *out.mutable_opaque_ports());
  add_ranges(spec.settings.require_identity_ports, *out.mutable_require_identity_ports());
  out.set_default_inbound_policy(spec.settings.default_inbound_policy);
  for (const auto& [key, value] : spec.labels) (*out.mutable_labels())[key] = value;
  out.set_node_name(facts.node_name);
  out.set_trust_domain(facts.trust_domain);
  out.set_keep_client_source(spec.settings.client_source);
  const PodLimits& limits = spec.settings.limits;
  out.mutable_limits()->set_connections(limits.connections);
  out.mutable_limits()->set_requests(limits.requests);
  out.mutable_limits()->set_buffered_bytes(limits.buffered_bytes);
  out.mutable_limits()->set_accepts_per_second(limits.accepts_per_second);
  out.mutable_limits()->set_cpu_weight(limits.cpu_weight);
}

}  // namespace heddle::agent
