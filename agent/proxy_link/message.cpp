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

Error malformed(std::string what) {
  return make_error(Errc::invalid_argument, "malformed message from a proxy: " + what);
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
      break;
    case node::FromProxy::kHeld:
      if (out.held().pod().id() == 0 || out.held().pod().netns_cookie() == 0)
        return malformed("Held without a pod");
      break;
    case node::FromProxy::kPodAck:
      if (out.pod_ack().error().size() > max_text_bytes)
        out.mutable_pod_ack()->mutable_error()->resize(max_text_bytes);
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
}

}  // namespace heddle::agent
