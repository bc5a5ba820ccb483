// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/mesh_bucket.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "proxy/inbound/transport_header.h"
#include "proxy/upstream/dial.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

constexpr std::size_t max_waiting_tunnels = 10'000;

bool write_whole(Stream& stream, std::string_view text) {
  const iovec part{const_cast<char*>(text.data()), text.size()};
  const IoResult result = stream.write(std::span(&part, 1));
  return result.status == IoStatus::ok && result.size == text.size();
}

}  // namespace

// A tunnel somebody waits for; destroyed by them, or told and then destroyed by them.
class MeshBucket::Tunnel final : public MeshPool::Pending, public http::TurnItem {
 public:
  Tunnel(MeshBucket& bucket, SocketAddress client, std::chrono::milliseconds timeout,
         MeshPool::Content carries, MeshPool::Done done)
      : content(carries),
        bucket_(&bucket),
        client_(client),
        done_(std::move(done)),
        // The connection itself has its own time-outs; this one bounds the wait behind others, longer than
        // a dial may wait for a socket.
        timer_(bucket.worker_.loop,
               [this] { tell(make_error(Errc::timeout, "no mesh connection in time")); }) {
    timer_.arm(socket_patience + timeout + bucket.worker_.settings.handshake_timeout);
    // In the list from the start: a bucket that somebody waits for is not swept away.
    wait();
    bucket.engine_.schedule(*this);
  }
  ~Tunnel() { leave(); }
  const MeshPool::Content content;

  void tell(Result<MeshPool::Tunnel> result) {
    leave();
    timer_.cancel();
    const MeshPool::Done done = std::move(done_);
    done(std::move(result));
  }
  const SocketAddress& client() const { return client_; }
  void leave() {
    if (bucket_ != nullptr && waits_) bucket_->waiting_.erase(place_);
    waits_ = false;
  }
  void wait() {
    place_ = bucket_->waiting_.insert(bucket_->waiting_.end(), this);
    waits_ = true;
  }
  void bucket_gone() {
    waits_ = false;
    bucket_ = nullptr;
    tell(make_error(Errc::closed, "the mesh pool is gone"));
  }

 private:
  void on_turn() override {
    if (!waits_) return;  // served meanwhile
    leave();
    bucket_->serve(*this);
  }

  MeshBucket* bucket_;
  const SocketAddress client_;
  MeshPool::Done done_;
  Timer timer_;
  std::list<Tunnel*>::iterator place_;
  bool waits_ = false;
};

// Dials, then proves both identities; says what the peer speaks.
class MeshBucket::Attempt {
 public:
  Attempt(MeshBucket& bucket, bool wanted_by_tunnel) : for_tunnel(wanted_by_tunnel), bucket_(bucket) {}
  const bool for_tunnel;

  void begin() {
    DialRequest request;
    request.pod = bucket_.pod_;
    request.to = bucket_.info_.address;
    if (bucket_.info_.opaque_transport_port != 0) request.to.port = bucket_.info_.opaque_transport_port;
    request.timeout = bucket_.worker_.settings.outbound_connect_timeout;
    dial_ = bucket_.worker_.dialer->dial(std::move(request), [this](Result<std::unique_ptr<Stream>> result) {
      if (!result) return bucket_.failed(*this, result.error());
      secure(std::move(*result));
    });
  }

 private:
  void secure(std::unique_ptr<Stream> stream) {
    const EndpointInfo& info = bucket_.info_;
    const std::string& name = info.server_name.empty() ? info.identity : info.server_name;
    handshake_ = bucket_.worker_.tls->connect(
        std::move(stream), bucket_.pod_, info.identity, name, {tls::alpn_heddle, tls::alpn_transport},
        bucket_.worker_.settings.handshake_timeout, [this](Result<tls::Established> result) {
          if (!result) return bucket_.failed(*this, result.error());
          const std::string& alpn = result->session.alpn;
          // At the port of the header nothing else says which app is meant.
          if (bucket_.info_.opaque_transport_port != 0 && alpn.empty()) {
            return bucket_.failed(
                *this, make_error(Errc::protocol, "the peer takes no transport header at port " +
                                                      std::to_string(bucket_.info_.opaque_transport_port)));
          }
          const Wire wire = alpn == tls::alpn_heddle      ? Wire::heddle
                            : alpn == tls::alpn_transport ? Wire::linkerd_transport
                                                          : Wire::linkerd_transparent;
          bucket_.connected(*this, wire, std::move(result->stream));
        });
  }

  MeshBucket& bucket_;
  std::unique_ptr<Dialer::Pending> dial_;
  std::unique_ptr<tls::Handshake> handshake_;
};

MeshBucket::MeshBucket(Worker& worker, http::Engine& engine, PodRef pod, EndpointInfo info, bool http2)
    : HttpBucket(engine, Limits{}, worker.budget(*pod)),
      worker_(worker),
      pod_(std::move(pod)),
      info_(std::move(info)),
      http2_(http2),
      self_(std::make_shared<MeshBucket*>(this)) {
  // One connection for all, until the peer turns out to be none of ours.
  limits_.http2 = true;
  limits_.h2 = http::mesh_settings();
}

MeshBucket::~MeshBucket() {
  *self_ = nullptr;
  while (!waiting_.empty()) {
    Tunnel* tunnel = waiting_.front();
    waiting_.pop_front();
    tunnel->bucket_gone();
  }
}

std::unique_ptr<MeshPool::Pending> MeshBucket::open_tunnel(SocketAddress client,
                                                           std::chrono::milliseconds timeout,
                                                           MeshPool::Content content, MeshPool::Done done) {
  return std::make_unique<Tunnel>(*this, client, timeout, content, std::move(done));
}

void MeshBucket::serve(Tunnel& tunnel) {
  for (const auto& held : h2_clients()) {
    if (wire_ != Wire::heddle || !held->available()) continue;
    auto stream = held->open_tunnel(info_.address.to_string(), tunnel.client().to_string());
    if (stream == nullptr) continue;
    return tunnel.tell(MeshPool::Tunnel{std::move(stream), Wire::heddle, info_.identity});
  }
  if (waiting_.size() >= max_waiting_tunnels)
    return tunnel.tell(make_error(Errc::exhausted, "10000 connections wait for one endpoint"));
  tunnel.wait();
  connect_for_tunnels();
}

void MeshBucket::connect_for_tunnels() {
  const bool shared = !wire_ || *wire_ == Wire::heddle;
  std::size_t running = 0;
  for (const auto& attempt : attempts_) running += shared || attempt->for_tunnel ? 1 : 0;
  const std::size_t wanted = shared ? std::min<std::size_t>(1, waiting_.size()) : waiting_.size();
  while (running < wanted) {
    ++running;
    begin_connecting();
    attempts_.push_back(std::make_unique<Attempt>(*this, true));
    attempts_.back()->begin();
  }
}

void MeshBucket::connect() {
  attempts_.push_back(std::make_unique<Attempt>(*this, false));
  attempts_.back()->begin();
}

void MeshBucket::forget(Attempt& attempt) {
  const auto found = std::find_if(attempts_.begin(), attempts_.end(),
                                  [&](const auto& held) { return held.get() == &attempt; });
  // We are inside a call of its own.
  worker_.loop.defer([dead = std::shared_ptr<Attempt>(std::move(*found))] {});
  attempts_.erase(found);
}

void MeshBucket::connected(Attempt& attempt, Wire wire, std::unique_ptr<Stream> stream) {
  const bool for_tunnel = attempt.for_tunnel;
  forget(attempt);
  if (wire_ != wire) {
    wire_ = wire;
    limits_.http2 = wire == Wire::heddle || http2_;
    if (wire != Wire::heddle) {
      limits_.h2 = http::H2Settings{};
      limits_.h2.ping = true;
    }
    spdlog::debug("mesh: peer known endpoint={} wire={}", info_.address.to_string(), to_string(wire));
  }
  if (wire == Wire::heddle) return h2_connected(std::move(stream), true);
  const bool use_for_tunnel = !waiting_.empty() && (for_tunnel || !requests_wait());
  if (wire == Wire::linkerd_transport) {
    TransportHeader header;
    header.port = info_.address.port;
    // Towards an endpoint that is declared opaque it is bytes, also when we know better.
    const bool bytes = info_.hint == ProtocolHint::opaque ||
                       (use_for_tunnel && waiting_.front()->content == MeshPool::Content::bytes);
    header.session = bytes                       ? TransportHeader::Session::bytes
                     : http2_ && !use_for_tunnel ? TransportHeader::Session::http2
                                                 : TransportHeader::Session::http1;
    if (!write_whole(*stream, encode_transport_header(header)))
      return lost(for_tunnel, make_error(Errc::closed, "the peer closed before the transport header"));
  }
  if (use_for_tunnel) {
    Tunnel& tunnel = *waiting_.front();
    tunnel.tell(MeshPool::Tunnel{std::move(stream), wire, info_.identity});
    connect_for_tunnels();
    return connect_ended();
  }
  if (http2_) {
    h2_connected(std::move(stream), true);
  } else {
    h1_connected(std::move(stream));
  }
  connect_for_tunnels();
}

void MeshBucket::failed(Attempt& attempt, const Error& error) {
  const bool for_tunnel = attempt.for_tunnel;
  forget(attempt);
  lost(for_tunnel, error);
}

// A connection will not come of an attempt: tells those for whom no other one runs.
void MeshBucket::lost(bool for_tunnel, const Error& error) {
  const bool shared = !wire_ || *wire_ == Wire::heddle;
  const std::size_t others = shared ? 0 : attempts_.size();
  std::size_t failing = for_tunnel || shared ? waiting_.size() - std::min(waiting_.size(), others) : 0;
  while (failing-- > 0 && !waiting_.empty()) waiting_.front()->tell(error);
  connect_failed(error);
}

void MeshBucket::client_available(http::H2Client& client) {
  while (!waiting_.empty() && wire_ == Wire::heddle && client.available()) {
    Tunnel& tunnel = *waiting_.front();
    auto stream = client.open_tunnel(info_.address.to_string(), tunnel.client().to_string());
    if (stream == nullptr) break;
    tunnel.tell(MeshPool::Tunnel{std::move(stream), Wire::heddle, info_.identity});
  }
  HttpBucket::client_available(client);
  if (!waiting_.empty()) connect_for_tunnels();
}

}  // namespace heddle::proxy
