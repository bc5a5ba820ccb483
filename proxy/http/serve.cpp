// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/serve.h"

#include <string>
#include <utility>

#include "proxy/http/http_connection.h"
#include "proxy/http/inbound_request.h"
#include "proxy/http/outbound_request.h"
#include "proxy/inbound/inbound.h"
#include "proxy/policy/authorize.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

class OutboundHttpConnection final : public HttpConnection {
 public:
  OutboundHttpConnection(Worker& worker, OutboundConnection about)
      : HttpConnection(worker, about.pod),
        shared_(std::make_shared<OutboundHttp>(worker, std::move(about))) {}

  void policy_changed(const PodRef& now) override {
    if (!shared_->joined_inbound || shared_->joined_inbound->connection.pod->id != now->id) return;
    shared_->joined_inbound->policy_changed(now);
    if (switched() && !authorize(shared_->joined_inbound->connection).allowed) abort();
  }

 private:
  http::Peer* start(http::RequestHead& head, bool end, http::ResponsePeer& requester) override {
    auto* request = new OutboundRequest(shared_, worker_.http_pool->engine());  // owns itself
    return request->take(head, end, requester);
  }
  OutboundHttpRef shared_;
};

class InboundHttpConnection : public HttpConnection {
 public:
  InboundHttpConnection(Worker& worker, InboundConnection about)
      : HttpConnection(worker, about.pod), shared_(std::make_shared<InboundHttp>(worker, std::move(about))) {}

  void policy_changed(const PodRef& now) override {
    shared_->policy_changed(now);
    if (switched() && !authorize(shared_->connection).allowed) abort();
  }

 protected:
  http::Peer* start(http::RequestHead& head, bool end, http::ResponsePeer& requester) override {
    auto* request = new InboundRequest(shared_, worker_.http_pool->engine());  // owns itself
    return request->take(head, end, requester);
  }
  InboundHttpRef shared_;
};

// A heddle/1 connection: requests and tunnels.
class MeshConnection final : public InboundHttpConnection, public http::TunnelHandler {
 public:
  MeshConnection(Worker& worker, InboundConnection about)
      : InboundHttpConnection(worker, std::move(about)),
        authority_(shared_->connection.original_dst.to_string()) {}

 private:
  bool verified() const {
    return shared_->connection.tls == TlsState::mutual && !shared_->connection.peer_identity.empty();
  }

  http::Peer* start(http::RequestHead& head, bool end, http::ResponsePeer& requester) override {
    if (verified()) return InboundHttpConnection::start(head, end, requester);
    http::ResponseHead refusal =
        http::make_error_response(403, "the mesh wire needs a verified identity", head.is_grpc());
    requester.respond(refusal, true);
    return nullptr;
  }

  std::string check_tunnel(std::string_view authority, std::string_view) override {
    if (!verified()) return "the mesh wire needs a verified identity";
    // The connection was made to one address: a stream cannot reach another.
    if (authority != authority_) return "the tunnel is not for this address";
    return {};
  }

  void open_tunnel(std::string_view client, std::unique_ptr<Stream> stream) override {
    InboundConnection connection = shared_->connection;
    // The peer may know the client's port better; the pod itself is who connects here, whatever the peer
    // says.
    const auto claimed = SocketAddress::parse(client);
    if (claimed && claimed->ip == connection.client.ip) connection.client = *claimed;
    serve_inbound_opaque(worker_, std::move(connection), std::move(stream));
  }

  const std::string authority_;
};

template <class Made>
void begin(Worker& worker, std::unique_ptr<Made> connection, Protocol protocol,
           std::unique_ptr<Stream> stream) {
  Made& running = *connection;
  if (!worker.connections->adopt(std::move(connection))) return;
  if (protocol == Protocol::http2) {
    running.begin_h2(std::move(stream), http::H2Settings{}, nullptr);
  } else {
    running.begin_h1(std::move(stream));
  }
}

}  // namespace

void serve_outbound_http(Worker& worker, OutboundConnection connection, Protocol protocol,
                         std::unique_ptr<Stream> stream) {
  begin(worker, std::make_unique<OutboundHttpConnection>(worker, std::move(connection)), protocol,
        std::move(stream));
}

void serve_inbound_http(Worker& worker, InboundConnection connection, Protocol protocol,
                        std::unique_ptr<Stream> stream) {
  begin(worker, std::make_unique<InboundHttpConnection>(worker, std::move(connection)), protocol,
        std::move(stream));
}

void serve_inbound_mesh(Worker& worker, InboundConnection connection, std::unique_ptr<Stream> stream) {
  auto made = std::make_unique<MeshConnection>(worker, std::move(connection));
  MeshConnection& running = *made;
  if (!worker.connections->adopt(std::move(made))) return;
  running.begin_h2(std::move(stream), http::mesh_settings(), &running);
}

}  // namespace heddle::proxy
