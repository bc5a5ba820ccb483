// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound/inbound.h"

#include <algorithm>
#include <boost/algorithm/string/predicate.hpp>

#include "proxy/http/serve.h"
#include "proxy/inbound/app.h"
#include "proxy/inbound/inbound_labels.h"
#include "proxy/inbound/mesh_peers.h"
#include "proxy/inbound/transport_reader.h"
#include "proxy/pipeline/pipeline.h"
#include "proxy/policy/authorize.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

// An app's greeting waits this long for the client's ClientHello, which may be on its way: in plaintext it
// would end a mesh connection. Peers that are known to begin with TLS are waited for longer.
constexpr std::chrono::milliseconds greeting_wait{50};
constexpr std::chrono::milliseconds greeting_wait_mesh_peer{1000};

class InboundPipeline final : public Pipeline {
 public:
  InboundPipeline(Worker& worker, InboundConnection connection, std::unique_ptr<Stream> stream)
      : Pipeline(worker, connection.pod, connection.client, std::move(stream)),
        connection_(std::move(connection)) {}

  void begin() { listen(worker_.settings.first_word_wait); }

  void policy_changed(const PodRef& now) override {
    if (now->id != pod->id) return;
    connection_.pod = now;
    // What is not yet known to be bytes may be a request, which gets an answer.
    if (counted_ && !authorize(connection_).allowed) refuse("policy");
  }

 private:
  bool declared_opaque() const {
    const std::uint16_t port = connection_.original_dst.port;
    return std::any_of(pod->opaque_ports.begin(), pod->opaque_ports.end(),
                       [port](const PortRange& range) { return range.contains(port); });
  }
  bool on_mesh_port() const { return connection_.original_dst.port == pod->inbound_port; }

  void client_spoke(const Detected& detected) override {
    if (connection_.tls == TlsState::none && detected.protocol == Protocol::tls &&
        boost::algorithm::iequals(detected.sni, pod->identity)) {
      return end_tls();
    }
    if (on_mesh_port()) return refuse("own_port");
    if (detected.protocol == Protocol::tls) {
      protocol_ = "tls";
      server_name_ = detected.sni;
      if (connection_.tls == TlsState::none) connection_.tls = TlsState::passthrough;
      return take_as_bytes();
    }
    if (detected.protocol == Protocol::opaque || declared_opaque()) return take_as_bytes();
    hand_to_http(detected.protocol);
  }

  void take_as_bytes() {
    count_once();
    go_opaque();
  }

  // Not when the app is dialled early: what the client wants shows later.
  void count_once() {
    if (!std::exchange(counted_, true)) count_decision(worker_, connection_);
  }

  void hand_to_http(Protocol protocol) {
    auto stream = hand_over_client();
    leave();
    serve_inbound_http(worker_, connection_, protocol, std::move(stream));
  }

  void end_tls() {
    auto stream = hand_over_client();
    // As Linkerd has it: the header is spoken at the mesh's own port, where nothing else is.
    const char* spoken = on_mesh_port() ? tls::alpn_transport : tls::alpn_heddle;
    handshake_ = worker_.tls->accept(std::move(stream), pod, connection_.client.ip, {spoken},
                                     worker_.settings.handshake_timeout,
                                     [this](Result<tls::Established> result) { secured(std::move(result)); });
  }

  void secured(Result<tls::Established> result) {
    worker_.loop.defer([keep = std::shared_ptr<tls::Handshake>(std::move(handshake_))] {});
    if (!result) {
      spdlog::debug("inbound TLS handshake failed pod={}/{} client={} error=\"{}\"", pod->ns, pod->name,
                    connection_.client.to_string(), result.error().message());
      return refuse("tls");
    }
    mesh_peers().remember(connection_.client.ip);
    connection_.peer_identity = std::move(result->session.peer_identity);
    connection_.tls = connection_.peer_identity.empty() ? TlsState::anonymous : TlsState::mutual;
    if (result->session.alpn == tls::alpn_heddle) {
      leave();
      return serve_inbound_mesh(worker_, connection_, std::move(result->stream));
    }
    if (result->session.alpn == tls::alpn_transport) {
      // A port without proven identity is what this transport is not for.
      if (connection_.tls != TlsState::mutual) return refuse("anonymous");
      return read_header(std::move(result->stream));
    }
    if (on_mesh_port()) return refuse("own_port");
    replace_client(std::move(result->stream));
    if (declared_opaque()) return take_as_bytes();
    listen(worker_.settings.first_word_wait);
  }

  void read_header(std::unique_ptr<Stream> stream) {
    reader_ = std::make_unique<TransportReader>(
        worker_, std::move(stream), worker_.settings.handshake_timeout,
        [this](Result<TransportReader::Read> result) { header_read(std::move(result)); });
    reader_->start();
  }

  void header_read(Result<TransportReader::Read> result) {
    worker_.loop.defer([keep = std::shared_ptr<TransportReader>(std::move(reader_))] {});
    if (!result) {
      spdlog::debug("no transport header pod={}/{} client={} client_id={} error=\"{}\"", pod->ns, pod->name,
                    connection_.client.to_string(), connection_.peer_identity, result.error().message());
      return refuse("transport_header");
    }
    const TransportHeader& header = result->header;
    if (!header.name.empty()) {
      spdlog::debug("a client takes a pod for a multicluster gateway pod={}/{} client={} client_id={}",
                    pod->ns, pod->name, connection_.client.to_string(), connection_.peer_identity);
      return refuse("gateway");
    }
    connection_.original_dst.port = header.port;
    if (on_mesh_port()) return refuse("own_port");
    replace_client(std::move(result->stream));
    if (header.session == TransportHeader::Session::bytes) return take_as_bytes();
    hand_to_http(header.session == TransportHeader::Session::http1 ? Protocol::http1 : Protocol::http2);
  }

  // What is denied is not dialled; HTTP still gets its 403.
  bool may_open_early() const override { return !on_mesh_port() && authorize(connection_).allowed; }
  void nobody_spoke() override {
    if (on_mesh_port()) return refuse("own_port");
    take_as_bytes();
  }
  std::chrono::milliseconds hold_greeting() const override {
    if (connection_.tls != TlsState::none) return std::chrono::milliseconds(0);
    return mesh_peers().knows(connection_.client.ip) ? greeting_wait_mesh_peer : greeting_wait;
  }

  std::unique_ptr<Opening> open_upstream(OpenDone done) override {
    return open_app(worker_, connection_, std::move(done));
  }
  SeriesPair find_series(const Upstream& upstream) override {
    count_once();  // the server spoke first
    return Pipeline::find_series(upstream);
  }
  Labels client_labels() const override { return inbound_client_labels(connection_); }
  Labels upstream_labels(const Upstream&) const override { return inbound_app_labels(connection_); }
  TrafficRecord describe() const override {
    TrafficRecord record = inbound_record(connection_, protocol_);
    record.server_name = server_name_;
    return record;
  }

  InboundConnection connection_;
  const char* protocol_ = "opaque";
  std::string server_name_;  // of the app's own TLS
  bool counted_ = false;
  std::unique_ptr<tls::Handshake> handshake_;
  std::unique_ptr<TransportReader> reader_;
};

}  // namespace

void serve_inbound(Worker& worker, PodRef pod, SocketAddress client, SocketAddress original_dst,
                   std::unique_ptr<Stream> stream) {
  InboundConnection connection;
  connection.pod = std::move(pod);
  connection.client = client;
  connection.original_dst = original_dst;
  auto pipeline = std::make_unique<InboundPipeline>(worker, std::move(connection), std::move(stream));
  InboundPipeline& running = *pipeline;
  if (worker.connections->adopt(std::move(pipeline))) running.begin();
}

}  // namespace heddle::proxy
