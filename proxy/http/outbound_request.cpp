// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/outbound_request.h"

#include <utility>

#include "base/log.h"
#include "proxy/outbound/join.h"
#include "proxy/outbound/unready.h"
#include "proxy/pipeline/tcp_labels.h"
#include "proxy/upstream/http_series.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

constexpr unsigned max_attempts = 3;
// A service without endpoints may be about to get one (Linkerd's outbound failfast).
constexpr std::chrono::seconds endpoint_wait{3};
constexpr std::chrono::milliseconds endpoint_poll{50};
// What an endpoint that failed is taken to answer in: the balancer then prefers the others for a while.
constexpr std::chrono::seconds failure_rtt{1};

// The join as a client: the request goes straight to the inbound side of this worker.
class Join final : public http::Client {
 public:
  Join(InboundHttpRef inbound, http::Engine& engine) : inbound_(std::move(inbound)), engine_(engine) {}
  http::Peer* start(const http::RequestHead& head, bool end, http::ResponsePeer& requester) override {
    auto* request = new InboundRequest(inbound_, engine_);  // owns itself
    http::RequestHead copy = head;                          // ours may have to be sent again
    return request->take(copy, end, requester);
  }

 private:
  InboundHttpRef inbound_;
  http::Engine& engine_;
};

bool is_timeout(const Error& error) {
  return error.code == make_error_code(Errc::timeout) ||
         error.code == boost::system::errc::make_error_code(boost::system::errc::timed_out);
}

const char* tls_text(Wire wire) {
  return wire == Wire::plaintext ? "no_identity" : wire == Wire::local ? "local" : "true";
}

}  // namespace

OutboundRequest::OutboundRequest(OutboundHttpRef shared, http::Engine& engine)
    : Forward(engine, shared->worker.budget(*shared->connection.pod)),
      shared_(std::move(shared)),
      began_(std::chrono::steady_clock::now()) {}

OutboundRequest::~OutboundRequest() = default;

http::Peer* OutboundRequest::take(http::RequestHead& head, bool end, http::ResponsePeer& requester) {
  // Nobody but a proxy may claim these.
  http::strip_mesh_fields(head.fields);
  name_destination(head);
  return begin(head, end, requester);
}

// HTTP/1.0 may do without Host, HTTP/2 between proxies may not.
void OutboundRequest::name_destination(http::RequestHead& head) const {
  if (head.version == http::Version::http2 || !head.authority().empty()) return;
  head.fields.remove(http::Name::host);
  head.set_authority(shared_->connection.destination->address.to_string());
}

EndpointRef OutboundRequest::pick() {
  Destination& destination = *shared_->connection.destination;
  switch (destination.state) {
    case Destination::State::endpoint:
      return destination.endpoint;
    case Destination::State::service:
      return destination.balancer.pick_for_request(shared_->worker.loop.now(), endpoint_.get());
    case Destination::State::pending:
    case Destination::State::not_found:
      return nullptr;
  }
  return nullptr;
}

void OutboundRequest::route(unsigned) {
  if (!awaited_) awaited_.emplace(shared_->worker.awaiting_upstream);
  EndpointRef next = pick();
  if (!next) return wait_for_endpoint();
  endpoint_ = std::move(next);
  send();
}

void OutboundRequest::wait_for_endpoint() {
  const DestinationRef& destination = shared_->connection.destination;
  if (destination->state == Destination::State::pending) return wait_for_discovery();
  if (destination->state == Destination::State::not_found)
    return destination->unavailable ? refuse(503, "discovery has not answered")
                                    : refuse(404, "discovery knows no such destination");
  if (std::chrono::steady_clock::now() - began_ > endpoint_wait)
    return refuse(503, "no endpoint of the service is available");
  look_again_later();
}

// Which gives an answer in any case.
void OutboundRequest::wait_for_discovery() {
  known_ = shared_->worker.directory->when_known(shared_->connection.destination, [this] {
    if (!over_) route(0);
  });
}

void OutboundRequest::look_again_later() {
  if (!wait_timer_) {
    wait_timer_ = std::make_unique<Timer>(shared_->worker.loop, [this] {
      if (!over_) route(0);
    });
  }
  wait_timer_->arm(endpoint_poll);
}

void OutboundRequest::send() {
  Worker& worker = shared_->worker;
  sent_ = std::chrono::steady_clock::now();
  counted_ = endpoint_;
  ++counted_->pending;
  if (PodRef local = worker.pods ? worker.pods->by_address(endpoint_->info.address.ip) : nullptr) {
    if (!may_join(endpoint_->info, *local)) return client_failed(wrong_identity(endpoint_->info));
    return join(std::move(local));
  }
  const bool http2 = head_.version == http::Version::http2;
  http::Client* client = nullptr;
  if (!endpoint_->info.identity.empty()) {
    wire_ = Wire::heddle;
    if (head_.is_upgrade) return open_tunnel();
    // HTTP/1 may name nobody (HTTP/1.0, an empty Host), HTTP/2 may not: then it is who was dialled.
    if (!http2 && head_.authority().empty()) head_.set_authority(shared_->connection.destination->authority);
    client = worker.mesh_pool->acquire(shared_->connection.pod, endpoint_, http2, *this);
  } else {
    wire_ = Wire::plaintext;
    client = worker.http_pool->acquire(
        {shared_->connection.pod, endpoint_->info.address, http2, std::nullopt}, *this);
  }
  if (client != nullptr) use_upstream(*client);
}

void OutboundRequest::join(PodRef local) {
  wire_ = Wire::local;
  if (shared_->joined != endpoint_) {
    InboundConnection inbound;
    inbound.pod = std::move(local);
    inbound.client = shared_->connection.client;
    inbound.original_dst = endpoint_->info.address;
    inbound.tls = TlsState::local;
    inbound.peer_identity = shared_->connection.pod->identity;
    shared_->joined = endpoint_;
    shared_->joined_inbound = std::make_shared<InboundHttp>(shared_->worker, std::move(inbound));
  }
  Join client(shared_->joined_inbound, engine_);
  use_upstream(client);
}

// The bytes after a switch belong to nobody else: a tunnel, and an HTTP/1 connection in it.
void OutboundRequest::open_tunnel() {
  Worker& worker = shared_->worker;
  tunnel_ = worker.mesh_pool->open_tunnel(
      shared_->connection.pod, endpoint_, shared_->connection.client,
      worker.settings.outbound_connect_timeout, MeshPool::Content::http1,
      [this](Result<MeshPool::Tunnel> result) {
        // The pending tunnel must outlive its own call.
        shared_->worker.loop.defer([done = std::shared_ptr<MeshPool::Pending>(std::move(tunnel_))] {});
        if (!result) return client_failed(result.error());
        own_client_ = std::make_unique<http::H1Client>(engine_, std::move(result->stream), *this,
                                                       shared_->worker.budget(*shared_->connection.pod));
        use_upstream(*own_client_);
      });
}

void OutboundRequest::client_idle(http::H1Client& client) {
  client.close();
}

void OutboundRequest::client_closed(http::H1Client&) {
  if (own_client_) engine_.bury(std::move(own_client_));
}

void OutboundRequest::client_ready(http::Client& client) {
  use_upstream(client);
}

void OutboundRequest::use_upstream(http::Client& client) {
  awaited_.reset();
  use(client);
}

void OutboundRequest::client_failed(const Error& error) {
  release_endpoint(true);
  const bool late = is_timeout(error);
  spdlog::debug("http: endpoint not reachable endpoint={} error=\"{}\"", endpoint_->info.address.to_string(),
                error.message());
  const bool unready = !endpoint_->info.identity.empty() && is_unready(error);
  if (unready && !over_ && holds_content() && std::chrono::steady_clock::now() - began_ < unready_patience)
    return look_again_later();
  upstream_failed(late ? 504 : 502, late ? "connect timeout" : "the endpoint cannot be reached");
}

bool OutboundRequest::retryable(unsigned attempt) {
  release_endpoint(true);
  if (attempt + 1 >= max_attempts) return false;
  const Destination& destination = *shared_->connection.destination;
  return destination.state == Destination::State::endpoint ? attempt == 0 : true;
}

void OutboundRequest::release_endpoint(bool failed) {
  const EndpointRef endpoint = std::move(counted_);
  counted_ = nullptr;
  if (!endpoint) return;
  const auto now = std::chrono::steady_clock::now();
  const auto took = failed ? std::max<std::chrono::nanoseconds>(failure_rtt, now - sent_) : now - sent_;
  shared_->connection.destination->balancer.end(*endpoint, took, now);
}

void OutboundRequest::on_respond(http::ResponseHead& head) {
  release_endpoint(false);
  // A mesh peer's own errors stay visible; an unmeshed server may not speak for a proxy.
  const bool meshed = wire_ != Wire::plaintext;
  head.fields.remove_if([&](std::size_t i) {
    switch (head.fields.id(i)) {
      case http::Name::l5d_client_id:
      case http::Name::l5d_orig_proto:
      case http::Name::mesh:
        return true;
      case http::Name::l5d_proxy_error:
        return !meshed;
      default:
        return false;
    }
  });
}

void OutboundRequest::on_trailers(const http::Fields& fields) {
  if (grpc_status_ < 0) grpc_status_ = http::find_grpc_status(fields);
}

void OutboundRequest::on_over(std::uint16_t status, std::string_view error) {
  release_endpoint(status >= 500 && !error.empty());
  awaited_.reset();
  wait_timer_.reset();
  known_.reset();
  tunnel_.reset();
  if (own_client_) {
    own_client_->close();
    engine_.bury(std::move(own_client_));
  }
  Worker& worker = shared_->worker;
  if (!worker.telemetry) return;
  const auto took = std::chrono::steady_clock::now() - began_;
  const OutboundConnection& connection = shared_->connection;
  const HttpSeriesCache::Key key{connection.pod, connection.destination, endpoint_, tls_text(wire_)};
  const auto make_labels = [&] {
    Labels labels = pod_labels(Direction::outbound, *connection.pod);
    add_label(labels, "authority", connection.destination->authority);
    if (!endpoint_) return labels;
    add_label(labels, "target_addr", endpoint_->info.address.to_string());
    add_label(labels, "tls", tls_text(wire_));
    if (wire_ == Wire::plaintext) {
      add_label(labels, "no_tls_reason", "not_provided_by_service_discovery");
    } else {
      add_label(labels, "server_id", endpoint_->info.identity);
    }
    add_labels(labels, "dst_", connection.destination->labels);
    add_labels(labels, "dst_", endpoint_->info.labels);
    return labels;
  };
  const auto& series = worker.http_pool->series().find(*worker.telemetry, key, make_labels);
  series->requests.add(1);
  if (status != 0)
    series->respond(status, grpc_status_, http::is_success(status, grpc_status_) && error.empty(),
                    error.empty() ? "" : "proxy", std::chrono::duration<double, std::milli>(took).count());
  if (worker.telemetry->recording())
    record(status, error, std::chrono::duration_cast<std::chrono::microseconds>(took));
}

void OutboundRequest::record(std::uint16_t status, std::string_view error, std::chrono::microseconds took) {
  const OutboundConnection& connection = shared_->connection;
  TrafficRecord record;
  record.direction = Direction::outbound;
  record.pod = connection.pod;
  record.client = connection.client;
  record.original_dst = connection.destination->address;
  if (endpoint_) {
    record.endpoint = endpoint_->info.address;
    record.peer_identity = endpoint_->info.identity;
  }
  record.authority = connection.destination->authority;
  record.protocol = http::protocol_name(head_);
  record.tls = tls_text(wire_);
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
