// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "proxy/connection.h"
#include "proxy/pipeline/tcp_labels.h"
#include "proxy/pipeline/upstream.h"

namespace heddle::proxy {

inline const char* tls_label(TlsState state) {
  switch (state) {
    case TlsState::mutual:
      return "true";
    case TlsState::local:
      return "local";
    case TlsState::passthrough:
      return "opaque";
    case TlsState::anonymous:
    case TlsState::none:
      break;
  }
  return "no_identity";
}

// The side towards the client.
inline Labels inbound_client_labels(const InboundConnection& connection) {
  Labels labels = pod_labels(Direction::inbound, *connection.pod);
  labels += R"(,peer="src")";
  add_label(labels, "target_addr", connection.original_dst.to_string());
  add_label(labels, "tls", tls_label(connection.tls));
  if (!connection.peer_identity.empty()) add_label(labels, "client_id", connection.peer_identity);
  return labels;
}

// The side towards the app.
inline Labels inbound_app_labels(const InboundConnection& connection) {
  Labels labels = pod_labels(Direction::inbound, *connection.pod);
  labels += R"(,peer="dst",tls="no_identity",no_tls_reason="loopback")";
  add_label(labels, "target_addr", connection.original_dst.to_string());
  return labels;
}

inline TrafficRecord inbound_record(const InboundConnection& connection, const char* protocol) {
  TrafficRecord record;
  record.direction = Direction::inbound;
  record.original_dst = connection.original_dst;
  record.protocol = protocol;
  record.tls = tls_label(connection.tls);
  record.peer_identity = connection.peer_identity;
  return record;
}

}  // namespace heddle::proxy
