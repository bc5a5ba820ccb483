// SPDX-License-Identifier: Apache-2.0
#include "proxy/outbound/route_opening.h"

#include "proxy/inbound/app.h"
#include "proxy/inbound/joined_stream.h"
#include "proxy/outbound/join.h"
#include "proxy/outbound/unready.h"
#include "proxy/upstream/awaited.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

class RouteOpening final : public Opening {
 public:
  RouteOpening(Worker& worker, PodRef pod, SocketAddress client, DestinationRef destination, OpenDone done)
      : worker_(worker),
        pod_(std::move(pod)),
        client_(client),
        destination_(std::move(destination)),
        done_(std::move(done)),
        began_(worker.loop.now()),
        self_(std::make_shared<RouteOpening*>(this)) {
    try_endpoint();
  }
  ~RouteOpening() override { *self_ = nullptr; }

 private:
  static constexpr int max_attempts = 2;

  EndpointRef pick() const {
    if (destination_->state == Destination::State::endpoint)
      return attempts_ == 0 ? destination_->endpoint : nullptr;
    if (destination_->state != Destination::State::service) return nullptr;
    EndpointRef picked = destination_->balancer.pick_for_connection(endpoint_.get());
    return picked == endpoint_ ? nullptr : picked;
  }

  void try_endpoint() {
    EndpointRef next = attempts_ < max_attempts ? pick() : nullptr;
    if (!next) {
      if (unready_ && worker_.loop.now() - began_ < unready_patience) return look_again_later();
      if (last_error_.message().empty())
        last_error_ = make_error(Errc::unavailable, "the service has no endpoint");
      return finish_later();
    }
    ++attempts_;
    endpoint_ = std::move(next);
    use_ = EndpointUse(endpoint_);
    if (PodRef local = worker_.pods->by_address(endpoint_->info.address.ip)) {
      // What a handshake would find out: the address has become another pod's.
      if (!may_join(endpoint_->info, *local)) return failed(wrong_identity(endpoint_->info));
      join(std::move(local));
    } else if (!endpoint_->info.identity.empty()) {
      open_tunnel();
    } else {
      dial_plaintext();
    }
  }

  // The endpoint, or what is known of it, is about to change.
  void look_again_later() {
    if (!look_timer_) look_timer_ = std::make_unique<Timer>(worker_.loop, [this] { try_endpoint(); });
    attempts_ = 0;
    unready_ = false;
    endpoint_ = nullptr;
    use_ = {};
    look_timer_->arm(unready_look);
  }

  // A pod of this node: its inbound side is here too, the kernel vouches for the client.
  void join(PodRef local) {
    InboundConnection inbound;
    inbound.pod = std::move(local);
    inbound.client = client_;
    inbound.original_dst = endpoint_->info.address;
    inbound.tls = TlsState::local;
    inbound.peer_identity = pod_->identity;
    count_decision(worker_, inbound);
    attempt_ = open_app(worker_, inbound, [this, inbound](Result<Upstream> result) {
      if (!result) return failed(result.error());
      result->wire = Wire::local;
      result->peer_identity = inbound.pod->identity;
      result->joined = std::make_shared<InboundConnection>(inbound);
      result->stream = count_join(worker_, pod_, inbound, *destination_, std::move(result->stream));
      succeeded(std::move(*result));
    });
  }

  void open_tunnel() {
    tunnel_ =
        worker_.mesh_pool->open_tunnel(pod_, endpoint_, client_, worker_.settings.outbound_connect_timeout,
                                       MeshPool::Content::bytes, [this](Result<MeshPool::Tunnel> result) {
                                         if (!result) return failed(result.error());
                                         Upstream upstream;
                                         upstream.stream = std::move(result->stream);
                                         upstream.wire = result->wire;
                                         upstream.peer_identity = std::move(result->peer_identity);
                                         succeeded(std::move(upstream));
                                       });
  }

  void dial_plaintext() {
    DialRequest request{pod_, endpoint_->info.address, std::nullopt,
                        worker_.settings.outbound_connect_timeout};
    dial_ = worker_.dialer->dial(std::move(request), [this](Result<std::unique_ptr<Stream>> result) {
      if (!result) return failed(result.error());
      Upstream upstream;
      upstream.stream = std::move(*result);
      succeeded(std::move(upstream));
    });
  }

  void succeeded(Upstream upstream) {
    upstream.address = endpoint_->info.address;
    upstream.use = std::move(use_);
    const OpenDone done = std::move(done_);
    done(std::move(upstream));
  }

  void failed(const Error& error) {
    last_error_ = error;
    unready_ = unready_ || (!endpoint_->info.identity.empty() && is_unready(error));
    // From inside the failed attempt's call: the next one begins when that returned.
    worker_.loop.defer([self = self_] {
      if (*self != nullptr) (*self)->try_endpoint();
    });
  }

  void finish_later() {
    worker_.loop.defer([self = self_] {
      if (*self == nullptr) return;
      const OpenDone done = std::move((*self)->done_);
      done((*self)->last_error_);
    });
  }

  Worker& worker_;
  PodRef pod_;
  SocketAddress client_;
  DestinationRef destination_;
  OpenDone done_;
  EndpointRef endpoint_;
  EndpointUse use_;
  int attempts_ = 0;
  bool unready_ = false;  // an attempt failed because the endpoint is not (or no longer) in the mesh
  const std::chrono::steady_clock::time_point began_;
  std::unique_ptr<Timer> look_timer_;
  Error last_error_;
  std::unique_ptr<Opening> attempt_;
  std::unique_ptr<MeshPool::Pending> tunnel_;
  std::unique_ptr<Dialer::Pending> dial_;
  std::shared_ptr<RouteOpening*> self_;
  const Awaited awaited_{worker_.awaiting_upstream};
};

}  // namespace

std::unique_ptr<Opening> open_route(Worker& worker, PodRef client_pod, SocketAddress client,
                                    DestinationRef destination, OpenDone done) {
  return std::make_unique<RouteOpening>(worker, std::move(client_pod), client, std::move(destination),
                                        std::move(done));
}

}  // namespace heddle::proxy
