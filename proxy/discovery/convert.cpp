// SPDX-License-Identifier: Apache-2.0
#include "proxy/discovery/convert.h"

#include "api/linkerd/destination.pb.h"

namespace heddle::proxy {
namespace {

namespace api = io::linkerd::proxy::destination;
namespace net = io::linkerd::proxy::net;

std::optional<SocketAddress> address(const net::TcpAddress& from) {
  if (from.port() == 0 || from.port() > 65535) return std::nullopt;
  SocketAddress to;
  to.port = static_cast<std::uint16_t>(from.port());
  if (from.ip().has_ipv4()) {
    to.ip = IpAddress::v4(from.ip().ipv4());
  } else if (from.ip().has_ipv6()) {
    std::array<std::uint8_t, 16> bytes{};
    for (std::size_t i = 0; i < 8; ++i) {
      bytes[i] = static_cast<std::uint8_t>(from.ip().ipv6().first() >> (56 - 8 * i));
      bytes[i + 8] = static_cast<std::uint8_t>(from.ip().ipv6().last() >> (56 - 8 * i));
    }
    to.ip = IpAddress(bytes);
  } else {
    return std::nullopt;
  }
  return to;
}

std::optional<EndpointInfo> endpoint(const api::WeightedAddr& from) {
  const auto at = address(from.addr());
  if (!at) return std::nullopt;
  EndpointInfo to;
  to.address = *at;
  if (from.has_tls_identity()) {
    const auto& tls = from.tls_identity();
    to.identity =
        tls.has_uri_like_identity() ? tls.uri_like_identity().uri() : tls.dns_like_identity().name();
    // Meshed, but as whom? No certificate has this name, so that nothing goes out in plaintext instead.
    if (to.identity.empty()) to.identity = "unnamed.invalid";
    to.server_name = tls.has_server_name() ? tls.server_name().name() : to.identity;
  }
  if (from.protocol_hint().has_h2()) to.hint = ProtocolHint::h2;
  if (from.protocol_hint().has_opaque()) to.hint = ProtocolHint::opaque;
  const auto inbound = from.protocol_hint().opaque_transport().inbound_port();
  if (inbound <= 65535) to.opaque_transport_port = static_cast<std::uint16_t>(inbound);
  to.labels.insert(from.metric_labels().begin(), from.metric_labels().end());
  return to;
}

}  // namespace

ProfileUpdate convert(const api::DestinationProfile& message) {
  ProfileUpdate update;
  update.name = message.fully_qualified_name();
  update.opaque = message.opaque_protocol();
  if (message.has_endpoint()) update.endpoint = endpoint(message.endpoint());
  const auto& service = message.parent_ref().resource();
  if (!service.name().empty()) {
    update.labels.emplace("service", service.name());
    update.labels.emplace("namespace", service.namespace_());
  }
  return update;
}

EndpointsUpdate convert(const api::Update& message) {
  EndpointsUpdate update;
  if (message.has_add()) {
    update.kind = EndpointsUpdate::Kind::add;
    update.labels.insert(message.add().metric_labels().begin(), message.add().metric_labels().end());
    for (const auto& each : message.add().addrs()) {
      if (auto info = endpoint(each)) update.added.push_back(std::move(*info));
    }
  } else if (message.has_remove()) {
    update.kind = EndpointsUpdate::Kind::remove;
    for (const auto& each : message.remove().addrs()) {
      if (const auto at = address(each)) update.removed.push_back(*at);
    }
  } else if (message.has_no_endpoints()) {
    update.kind = EndpointsUpdate::Kind::none;
    update.exists = message.no_endpoints().exists();
  } else {
    update.kind = EndpointsUpdate::Kind::other;
  }
  return update;
}

}  // namespace heddle::proxy
