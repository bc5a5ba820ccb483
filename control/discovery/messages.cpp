// SPDX-License-Identifier: Apache-2.0
#include "control/discovery/messages.h"

#include <algorithm>

namespace heddle::control {
namespace {

// About 400 bytes each: some 400 KiB per message.
constexpr std::size_t endpoints_per_message = 1000;
constexpr std::uint32_t weight_of_one = 10000;

std::uint64_t big_endian(const std::uint8_t* bytes) {
  std::uint64_t out = 0;
  for (int i = 0; i < 8; ++i) out = out << 8 | bytes[i];
  return out;
}

void encode(const SocketAddress& from, ::io::linkerd::proxy::net::TcpAddress& to) {
  if (from.ip.is_v4()) {
    to.mutable_ip()->set_ipv4(from.ip.v4_host_order());
  } else {
    to.mutable_ip()->mutable_ipv6()->set_first(big_endian(from.ip.bytes().data()));
    to.mutable_ip()->mutable_ipv6()->set_last(big_endian(from.ip.bytes().data() + 8));
  }
  to.set_port(from.port);
}

void encode(const SocketAddress& address, const EndpointInfo& info, destination_api::WeightedAddr& to) {
  encode(address, *to.mutable_addr());
  to.set_weight(weight_of_one);
  for (const auto& [key, value] : info.labels) (*to.mutable_metric_labels())[key] = value;
  if (!info.identity.empty()) {
    to.mutable_tls_identity()->mutable_dns_like_identity()->set_name(info.identity);
    to.mutable_tls_identity()->mutable_server_name()->set_name(info.identity);
  }
  // opaque_transport stays unset: heddle's pods are dialled at the application's port, so that
  // NetworkPolicy's port rules keep their meaning.
  if (info.hint == Hint::http2) to.mutable_protocol_hint()->mutable_h2();
  if (info.hint == Hint::opaque) to.mutable_protocol_hint()->mutable_opaque();
}

}  // namespace

std::vector<std::shared_ptr<const destination_api::Update>> EndpointTraits::changes(
    const EndpointSet* before, const EndpointSet& after) const {
  std::vector<std::shared_ptr<const Message>> messages;
  const EndpointChange change = compare_endpoints(before, after);
  if (change.none_left) {
    auto message = std::make_shared<Message>();
    message->mutable_no_endpoints()->set_exists(after.exists);
    messages.push_back(std::move(message));
    return messages;
  }
  if (!change.removed.empty()) {
    auto message = std::make_shared<Message>();
    for (const SocketAddress& address : change.removed)
      encode(address, *message->mutable_remove()->add_addrs());
    messages.push_back(std::move(message));
  }
  for (std::size_t first = 0; first < change.added.size(); first += endpoints_per_message) {
    auto message = std::make_shared<Message>();
    auto& add = *message->mutable_add();
    for (const auto& [key, value] : after.labels) (*add.mutable_metric_labels())[key] = value;
    const std::size_t last = std::min(first + endpoints_per_message, change.added.size());
    for (std::size_t i = first; i < last; ++i) {
      encode(change.added[i], after.endpoints.at(change.added[i]), *add.add_addrs());
    }
    messages.push_back(std::move(message));
  }
  return messages;
}

std::vector<std::shared_ptr<const destination_api::DestinationProfile>> ProfileTraits::changes(
    const Profile* before, const Profile& after) const {
  if (before != nullptr && *before == after) return {};
  auto message = std::make_shared<Message>();
  message->set_fully_qualified_name(after.fully_qualified_name);
  message->set_opaque_protocol(after.opaque);
  // Linkerd's defaults.
  message->mutable_retry_budget()->set_retry_ratio(0.2F);
  message->mutable_retry_budget()->set_min_retries_per_second(10);
  message->mutable_retry_budget()->mutable_ttl()->set_seconds(10);
  if (after.service) {
    auto& resource = *message->mutable_parent_ref()->mutable_resource();
    resource.set_group("core");
    resource.set_kind("Service");
    resource.set_namespace_(after.service->ns);
    resource.set_name(after.service->service);
    resource.set_port(after.service->port);
  }
  if (after.endpoint_address) encode(*after.endpoint_address, after.endpoint, *message->mutable_endpoint());
  return {std::move(message)};
}

}  // namespace heddle::control
