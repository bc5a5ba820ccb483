// SPDX-License-Identifier: Apache-2.0
#include "proxy/outbound/forward_proxy.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "proxy/http/http_connection.h"
#include "proxy/http/outbound_request.h"
#include "proxy/io/pipe.h"
#include "proxy/listen/original_dst.h"
#include "proxy/outbound/outbound.h"
#include "proxy/policy/authorize.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

constexpr std::size_t longest_name = 253;      // RFC 1035 2.3.4
constexpr std::size_t most_destinations = 64;  // of one connection; then the oldest names are looked up again

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= longest_name && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  });
}

Error malformed() {
  return make_error(Errc::invalid_argument, "the target is no HOST:PORT");
}

// CONNECT: answered when the destination is known to exist; the connection to it is made when the app's first
// bytes show what it is, as for a captured one. Owns itself.
class ConnectRequest final : public http::Buried, public http::Peer {
 public:
  ConnectRequest(Worker& worker, PodRef pod, SocketAddress client, DestinationRef destination)
      : worker_(worker), pod_(std::move(pod)), client_(client), destination_(std::move(destination)) {}

  http::Peer* begin(http::ResponsePeer& requester) {
    requester_ = &requester;
    waiter_ = worker_.directory->when_known(destination_, [this] { known(); });
    return this;
  }

 private:
  void data(std::span<const std::byte>, bool) override {}
  void trailers(http::Fields&&) override {}
  void consumed(std::size_t) override {}
  void abort(http::Abort) override {
    requester_ = nullptr;
    finish();
  }

  void known() {
    http::ResponsePeer* requester = std::exchange(requester_, nullptr);
    if (requester == nullptr) return;
    if (destination_->state == Destination::State::not_found) {
      http::ResponseHead refusal =
          destination_->unavailable
              ? http::make_error_response(503, "discovery has not answered", false)
              : http::make_error_response(404, "discovery knows no such destination", false);
      requester->respond(refusal, true);
      return finish();
    }
    auto [ours, pipelines] = make_pipe(worker_.loop);
    http::ResponseHead head;
    head.status = 200;
    requester->respond(head, false);
    requester->switched(std::move(ours));
    serve_outbound_to(worker_, pod_, client_, destination_, std::move(pipelines));
    finish();
  }

  void finish() {
    if (std::exchange(over_, true)) return;
    worker_.http_pool->engine().bury(std::unique_ptr<Buried>(this));
  }

  Worker& worker_;
  const PodRef pod_;
  const SocketAddress client_;
  const DestinationRef destination_;
  http::ResponsePeer* requester_ = nullptr;
  std::unique_ptr<Directory::Waiter> waiter_;
  bool over_ = false;
};

class ForwardProxyConnection final : public HttpConnection {
 public:
  ForwardProxyConnection(Worker& worker, PodRef owner, SocketAddress client, DestinationRef dialled)
      : HttpConnection(worker, std::move(owner)), client_(client) {
    if (dialled) dialled_ = share(std::move(dialled));
  }

  void policy_changed(const PodRef& now) override {
    for (auto& [authority, shared] : destinations_) {
      if (shared->joined_inbound) shared->joined_inbound->policy_changed(now);
    }
    if (dialled_ && dialled_->joined_inbound) dialled_->joined_inbound->policy_changed(now);
    if (!switched() || !latest_->joined_inbound) return;
    const InboundConnection& joined = latest_->joined_inbound->connection;
    if (joined.pod->id == now->id && !authorize(joined).allowed) abort();
  }

 private:
  http::Peer* start(http::RequestHead& head, bool end, http::ResponsePeer& requester) override {
    const bool connect = head.is_connect();
    if (!connect && !head.absolute_form) {
      if (dialled_) return forward(dialled_, head, end, requester);
      return refuse(400, "this is a forward proxy: a request's target is a URL", requester);
    }
    if (!connect && head.scheme() != "http")
      return refuse(400, "https goes through a forward proxy by CONNECT", requester);
    const auto target = parse_authority(head.authority(), connect ? 0 : 80);
    if (!target) return refuse(400, target.error().detail, requester);
    if (target->host.empty() && is_ours(target->address))
      return refuse(508, "the target is this proxy itself", requester);
    if (connect) {
      auto* request = new ConnectRequest(worker_, pod, client_, look_up(*target));  // owns itself
      return request->begin(requester);
    }
    const OutboundHttpRef shared = find(std::string(head.authority()), *target);
    make_origin_form(head);
    return forward(shared, head, end, requester);
  }

  http::Peer* forward(const OutboundHttpRef& shared, http::RequestHead& head, bool end,
                      http::ResponsePeer& requester) {
    latest_ = shared;
    auto* request = new OutboundRequest(shared, worker_.http_pool->engine());  // owns itself
    return request->take(head, end, requester);
  }

  static http::Peer* refuse(std::uint16_t status, std::string_view why, http::ResponsePeer& requester) {
    http::ResponseHead refusal = http::make_error_response(status, why, false);
    requester.respond(refusal, true);
    return nullptr;
  }

  // Through the pod's own address the request would come back for ever.
  bool is_ours(const SocketAddress& address) const { return dials_listener(*pod, address); }

  // RFC 9112 3.2.1: what an origin server gets.
  static void make_origin_form(http::RequestHead& head) {
    const std::string authority(head.authority());
    std::string path(head.path());
    if (path.starts_with('?')) path.insert(0, "/");
    head.absolute_form = false;
    head.set_authority(authority);
    head.set_target(path);
  }

  DestinationRef look_up(const NamedTarget& target) {
    if (target.host.empty()) return worker_.directory->lookup(*pod, target.address);
    return worker_.directory->lookup(*pod, target.host, target.address.port);
  }

  OutboundHttpRef share(DestinationRef destination) {
    return std::make_shared<OutboundHttp>(worker_, OutboundConnection{pod, client_, std::move(destination)});
  }

  OutboundHttpRef find(const std::string& authority, const NamedTarget& target) {
    const auto known = destinations_.find(authority);
    if (known != destinations_.end()) return known->second;
    if (destinations_.size() >= most_destinations) destinations_.clear();
    return destinations_.emplace(authority, share(look_up(target))).first->second;
  }

  const SocketAddress client_;
  OutboundHttpRef dialled_;
  OutboundHttpRef latest_;  // of a request that switched protocols: where its bytes go
  std::map<std::string, OutboundHttpRef> destinations_;  // by authority
};

}  // namespace

Result<NamedTarget> parse_authority(std::string_view authority, std::uint16_t default_port) {
  NamedTarget target;
  std::string_view host = authority;
  std::uint16_t port = default_port;
  // The last colon, unless it is within the brackets of an IPv6 address.
  if (const auto colon = authority.rfind(':');
      colon != std::string_view::npos && authority.find(']', colon) == std::string_view::npos) {
    host = authority.substr(0, colon);
    const std::string_view digits = authority.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (!digits.empty() && (error != std::errc() || end != digits.data() + digits.size())) return malformed();
  }
  if (port == 0) return malformed();
  target.address.port = port;
  std::string_view literal = host;
  if (host.starts_with('[') && host.ends_with(']')) literal = host.substr(1, host.size() - 2);
  if (const auto ip = IpAddress::parse(literal); ip && (ip->is_v4() == (literal.size() == host.size()))) {
    target.address.ip = *ip;
    return target;
  }
  target.host = std::string(host);
  std::ranges::transform(target.host, target.host.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c; });
  if (target.host.ends_with('.')) target.host.pop_back();
  if (!is_name(target.host)) return malformed();
  return target;
}

void serve_forward_proxy(Worker& worker, PodRef pod, SocketAddress client, DestinationRef dialled,
                         std::unique_ptr<Stream> stream) {
  auto connection =
      std::make_unique<ForwardProxyConnection>(worker, std::move(pod), client, std::move(dialled));
  ForwardProxyConnection& running = *connection;
  if (worker.connections->adopt(std::move(connection))) running.begin_h1(std::move(stream));
}

}  // namespace heddle::proxy
