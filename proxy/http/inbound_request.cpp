// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/inbound_request.h"

#include <utility>

#include "base/log.h"
#include "proxy/http/orig_proto.h"
#include "proxy/inbound/audit.h"
#include "proxy/inbound/inbound_labels.h"
#include "proxy/pipeline/tcp_labels.h"
#include "proxy/worker.h"

namespace heddle::proxy {

void InboundHttp::policy_changed(const PodRef& now) {
  if (now->id != connection.pod->id) return;
  connection.pod = now;
  // Their labels name the rule.
  allowed = nullptr;
  denied = nullptr;
}

InboundRequest::InboundRequest(InboundHttpRef shared, http::Engine& engine)
    : Forward(engine, shared->worker.budget(*shared->connection.pod)),
      shared_(std::move(shared)),
      began_(std::chrono::steady_clock::now()) {}

bool InboundRequest::from_mesh() const {
  return shared_->connection.tls == TlsState::mutual || shared_->connection.tls == TlsState::local;
}

http::Peer* InboundRequest::take(http::RequestHead& head, bool end, http::ResponsePeer& requester) {
  if (from_mesh()) {
    orig_proto_ = std::string(head.fields.find(http::Name::l5d_orig_proto).value_or(""));
    http::restore_orig_proto(head, orig_proto_);
  }
  http::strip_mesh_fields(head.fields);
  // Only what was proven; a name the client sent itself is gone by now.
  if (from_mesh()) head.fields.add("l5d-client-id", shared_->connection.peer_identity);
  return begin(head, end, requester);
}

void InboundRequest::route(unsigned) {
  Worker& worker = shared_->worker;
  const InboundConnection& connection = shared_->connection;
  const Decision decision = authorize(connection);
  count_decision(decision);
  if (!decision.allowed) return refuse(403, decision.reason);
  HttpPool::Key key;
  key.pod = connection.pod;
  key.to = connection.original_dst;
  key.http2 = head_.version == http::Version::http2;
  if (connection.pod->keep_client_source) key.show_client = connection.client;
  if (http::Client* client = worker.http_pool->acquire(key, *this)) use(*client);
}

bool InboundRequest::retryable(unsigned attempt) {
  return attempt < 1;
}

void InboundRequest::client_failed(const Error& error) {
  const bool late = error.code == make_error_code(Errc::timeout) ||
                    error.code == boost::system::errc::make_error_code(boost::system::errc::timed_out);
  spdlog::debug("http: app not reachable pod={}/{} address={} error=\"{}\"", shared_->connection.pod->ns,
                shared_->connection.pod->name, shared_->connection.original_dst.to_string(), error.message());
  // The app's refusal is its answer: trying it again at once changes nothing.
  refuse(late ? 504 : 502, late ? "the app did not accept in time" : "the app refuses connections");
}

void InboundRequest::on_respond(http::ResponseHead& head) {
  http::strip_mesh_fields(head.fields);
  if (!orig_proto_.empty()) head.fields.add("l5d-orig-proto", orig_proto_);
}

void InboundRequest::on_trailers(const http::Fields& fields) {
  if (grpc_status_ < 0) grpc_status_ = http::find_grpc_status(fields);
}

void InboundRequest::count_decision(const Decision& decision) {
  Worker& worker = shared_->worker;
  if (decision.audited) log_audited(shared_->connection, decision);
  if (!worker.telemetry) return;
  auto& cell = decision.allowed ? shared_->allowed : shared_->denied;
  if (!cell) {
    Labels labels = render_label("namespace", shared_->connection.pod->ns);
    add_label(labels, "pod", shared_->connection.pod->name);
    add_label(labels, "authz_name", decision.rule);
    add_label(labels, "client_id", shared_->connection.peer_identity);
    cell = worker.telemetry->counter(
        decision.allowed ? "inbound_http_authz_allow_total" : "inbound_http_authz_deny_total",
        "Requests that the inbound policy allowed or denied.", labels);
  }
  cell->add(1);
}

void InboundRequest::on_over(std::uint16_t status, std::string_view error) {
  Worker& worker = shared_->worker;
  if (!worker.telemetry) return;
  const InboundConnection& connection = shared_->connection;
  const auto took = std::chrono::steady_clock::now() - began_;
  auto& series = shared_->series;
  if (!series) {
    Labels labels = pod_labels(Direction::inbound, *connection.pod);
    add_label(labels, "target_addr", connection.original_dst.to_string());
    add_label(labels, "tls", tls_label(connection.tls));
    if (!connection.peer_identity.empty()) add_label(labels, "client_id", connection.peer_identity);
    series = worker.telemetry->http(labels);
  }
  series->requests.add(1);
  if (status != 0)
    series->respond(status, grpc_status_, http::is_success(status, grpc_status_) && error.empty(),
                    error.empty() ? "" : "proxy", std::chrono::duration<double, std::milli>(took).count());
  if (worker.telemetry->recording())
    record(status, error, std::chrono::duration_cast<std::chrono::microseconds>(took));
}

void InboundRequest::record(std::uint16_t status, std::string_view error, std::chrono::microseconds took) {
  const InboundConnection& connection = shared_->connection;
  TrafficRecord record = inbound_record(connection, http::protocol_name(head_));
  record.pod = connection.pod;
  record.client = connection.client;
  record.endpoint = connection.original_dst;
  record.authority = head_.authority();
  record.method = head_.method();
  record.path = head_.path();
  record.status = status;
  record.bytes_in = bytes_in_;
  record.bytes_out = bytes_out_;
  record.duration = took;
  record.error = error;
  shared_->worker.telemetry->record(record);
}

}  // namespace heddle::proxy
