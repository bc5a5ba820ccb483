// SPDX-License-Identifier: Apache-2.0
#include "proxy/outbound/outbound.h"

#include <algorithm>

#include "base/trial_address.h"
#include "proxy/http/serve.h"
#include "proxy/outbound/forward_proxy.h"
#include "proxy/outbound/route_opening.h"
#include "proxy/pipeline/pipeline.h"
#include "proxy/pipeline/tcp_labels.h"
#include "proxy/policy/authorize.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

// Of a destination: how long found series are held without looking them up again, and how many.
constexpr std::chrono::seconds series_kept{60};
constexpr std::size_t most_series = 32;

// Protocols whose server speaks first: the usual ports are dialled at once instead of a few milliseconds
// later.
bool usually_server_first(std::uint16_t port) {
  switch (port) {
    case 21:
    case 22:
    case 25:
    case 110:
    case 143:
    case 587:
    case 3306:
    case 4444:
    case 5900:
      return true;
    default:
      return false;
  }
}

class OutboundPipeline final : public Pipeline {
 public:
  OutboundPipeline(Worker& worker, PodRef owner, SocketAddress client, SocketAddress original_dst,
                   std::unique_ptr<Stream> stream)
      : Pipeline(worker, std::move(owner), client, std::move(stream)), original_dst_(original_dst) {}

  void policy_changed(const PodRef& now) override {
    if (!upstream() || !upstream()->joined || upstream()->joined->pod->id != now->id) return;
    upstream()->joined->pod = now;
    if (!authorize(*upstream()->joined).allowed) refuse("policy");
  }

  void begin_to(DestinationRef destination) {
    destination_ = std::move(destination);
    known();
  }

  void begin() {
    destination_ = worker_.directory->lookup(*pod, original_dst_);
    if (destination_->state != Destination::State::pending) return known();
    waiter_ = worker_.directory->when_known(destination_, [this] {
      worker_.loop.defer([keep = std::shared_ptr<Directory::Waiter>(std::move(waiter_))] {});
      known();
    });
  }

 private:
  void known() {
    const Destination::State state = destination_->state;
    if (state == Destination::State::not_found || state == Destination::State::pending) {
      return refuse(destination_->unavailable ? "discovery" : "not_found");
    }
    if (destination_->server_speaks_first) return go_opaque();
    if (destination_->opaque) {
      if (destination_->client_speaks_first) return await_bytes(worker_.settings.first_word_wait);
      return go_opaque();
    }
    if (destination_->declared) {
      protocol_ = *destination_->declared;
      return client_spoke({protocol_, {}});
    }
    listen(usually_server_first(original_dst_.port) ? std::chrono::milliseconds(1)
                                                    : worker_.settings.first_word_wait);
  }

  void client_spoke(const Detected& detected) override {
    protocol_ = detected.protocol;
    server_name_ = detected.sni;
    if (protocol_ != Protocol::http1 && protocol_ != Protocol::http2) return go_opaque();
    auto stream = hand_over_client();
    leave();
    if (names_forward_proxy() && protocol_ == Protocol::http1)
      return serve_forward_proxy(worker_, pod, client_address_, destination_, std::move(stream));
    serve_outbound_http(worker_, {pod, client_address_, destination_}, protocol_, std::move(stream));
  }

  // Linkerd 1's way: http_proxy=http://NODE:4140.
  bool names_forward_proxy() const {
    const auto& node = worker_.settings.node_addresses;
    return original_dst_.port == pod->outbound_port &&
           std::find(node.begin(), node.end(), original_dst_.ip) != node.end();
  }

  void server_spoke() override { destination_->server_speaks_first = true; }
  void bytes_ended(bool client_was_first) override { destination_->client_speaks_first = client_was_first; }

  std::unique_ptr<Opening> open_upstream(OpenDone done) override {
    return open_route(worker_, pod, client_address_, destination_, std::move(done));
  }

  Labels client_labels() const override {
    Labels labels = pod_labels(Direction::outbound, *pod);
    labels += R"(,peer="src",tls="no_identity",no_tls_reason="loopback")";
    return labels;
  }

  Labels upstream_labels(const Upstream& upstream) const override {
    Labels labels = pod_labels(Direction::outbound, *pod);
    labels += R"(,peer="dst")";
    add_label(labels, "authority", destination_->authority);
    add_label(labels, "target_addr", upstream.address.to_string());
    if (upstream.wire == Wire::plaintext) {
      labels += R"(,tls="no_identity",no_tls_reason="not_provided_by_service_discovery")";
    } else {
      labels += upstream.wire == Wire::local ? R"(,tls="local")" : R"(,tls="true")";
      add_label(labels, "server_id", upstream.peer_identity);
    }
    add_labels(labels, "dst_", destination_->labels);
    if (const auto& endpoint = upstream.use.endpoint()) add_labels(labels, "dst_", endpoint->info.labels);
    return labels;
  }

  SeriesPair find_series(const Upstream& upstream) override {
    tls_ = upstream.wire == Wire::plaintext ? "no_identity" : upstream.wire == Wire::local ? "local" : "true";
    peer_identity_ = upstream.peer_identity;
    if (!upstream.use.endpoint()) return Pipeline::find_series(upstream);
    const auto now = worker_.loop.now();
    auto& known = destination_->series;
    if (now - destination_->series_since > series_kept || known.size() >= most_series) known.clear();
    const auto wire = static_cast<std::uint8_t>(upstream.wire);
    for (const KnownSeries& each : known) {
      if (each.pod == pod && each.endpoint == upstream.use.endpoint() && each.wire == wire &&
          each.peer_identity == upstream.peer_identity) {
        return {each.client, each.upstream};
      }
    }
    if (known.empty()) destination_->series_since = now;
    SeriesPair found = Pipeline::find_series(upstream);
    known.push_back(
        {pod, upstream.use.endpoint(), wire, upstream.peer_identity, found.client, found.upstream});
    return found;
  }

  TrafficRecord describe() const override {
    TrafficRecord record;
    record.direction = Direction::outbound;
    record.original_dst = original_dst_;
    record.authority = destination_ ? std::string_view(destination_->authority) : std::string_view();
    record.protocol = protocol_ == Protocol::tls ? "tls" : "opaque";
    record.tls = tls_;
    record.peer_identity = peer_identity_;
    record.server_name = server_name_;
    return record;
  }

  const SocketAddress original_dst_;
  DestinationRef destination_;
  std::unique_ptr<Directory::Waiter> waiter_;
  Protocol protocol_ = Protocol::opaque;
  const char* tls_ = "no_identity";
  std::string peer_identity_;
  std::string server_name_;  // of the app's own TLS
};

}  // namespace

void serve_outbound(Worker& worker, PodRef pod, SocketAddress client, SocketAddress original_dst,
                    std::unique_ptr<Stream> stream) {
  // What had to be shown was shown by accepting it. Looked up, it would stay among the known destinations.
  if (original_dst == trial_address(true) || original_dst == trial_address(false)) {
    // Not a reset, which the client could take for a refusal.
    stream->finish_writes();
    return stream->let_go();
  }
  auto pipeline =
      std::make_unique<OutboundPipeline>(worker, std::move(pod), client, original_dst, std::move(stream));
  OutboundPipeline& running = *pipeline;
  if (worker.connections->adopt(std::move(pipeline))) running.begin();
}

void serve_outbound_to(Worker& worker, PodRef pod, SocketAddress client, DestinationRef destination,
                       std::unique_ptr<Stream> stream) {
  auto pipeline = std::make_unique<OutboundPipeline>(worker, std::move(pod), client, destination->address,
                                                     std::move(stream));
  OutboundPipeline& running = *pipeline;
  if (worker.connections->adopt(std::move(pipeline))) running.begin_to(std::move(destination));
}

}  // namespace heddle::proxy
