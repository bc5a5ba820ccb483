// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "proxy/connection.h"
#include "proxy/http/forward.h"
#include "proxy/http/h1_client.h"
#include "proxy/http/inbound_request.h"
#include "proxy/telemetry/telemetry.h"
#include "proxy/upstream/awaited.h"
#include "proxy/upstream/mesh_pool.h"

namespace heddle::proxy {

struct Worker;

// What the requests of one outbound connection share.
struct OutboundHttp {
  OutboundHttp(Worker& owner, OutboundConnection about) : worker(owner), connection(std::move(about)) {}
  Worker& worker;
  const OutboundConnection connection;
  // The inbound side last joined, for the next request to the same pod.
  EndpointRef joined;
  InboundHttpRef joined_inbound;
};
using OutboundHttpRef = std::shared_ptr<OutboundHttp>;

// A request of an app of this node: balanced, sent over the mesh, joined, or sent in plaintext to an unmeshed
// endpoint; tried elsewhere when that is safe.
class OutboundRequest final : public http::Forward, public http::H1ClientOwner {
 public:
  OutboundRequest(OutboundHttpRef shared, http::Engine& engine);
  ~OutboundRequest() override;
  http::Peer* take(http::RequestHead& head, bool end, http::ResponsePeer& requester);

 private:
  void route(unsigned attempt) override;
  bool retryable(unsigned attempt) override;
  void on_respond(http::ResponseHead& head) override;
  void on_trailers(const http::Fields& fields) override;
  void on_over(std::uint16_t status, std::string_view error) override;
  void client_ready(http::Client& client) override;
  void client_failed(const Error& error) override;
  // Of the connection that a switched request has for itself.
  void client_idle(http::H1Client& client) override;
  void client_closed(http::H1Client& client) override;

  void name_destination(http::RequestHead& head) const;
  EndpointRef pick();
  void wait_for_endpoint();
  void wait_for_discovery();
  void look_again_later();
  void send();
  void join(PodRef local);
  void open_tunnel();
  void use_upstream(http::Client& client);
  void release_endpoint(bool failed);
  void record(std::uint16_t status, std::string_view error, std::chrono::microseconds took);

  OutboundHttpRef shared_;
  std::optional<Awaited> awaited_;
  EndpointRef endpoint_;
  EndpointRef counted_;  // begin() was called for it and end() was not
  std::chrono::steady_clock::time_point began_;
  std::chrono::steady_clock::time_point sent_;
  std::unique_ptr<Timer> wait_timer_;
  std::unique_ptr<Directory::Waiter> known_;
  std::unique_ptr<MeshPool::Pending> tunnel_;
  std::unique_ptr<http::H1Client> own_client_;
  Wire wire_ = Wire::plaintext;
  std::int16_t grpc_status_ = -1;
};

}  // namespace heddle::proxy
