// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "proxy/connection.h"
#include "proxy/http/forward.h"
#include "proxy/http/request_log.h"
#include "proxy/policy/authorize.h"
#include "proxy/telemetry/telemetry.h"

namespace heddle::proxy {

struct Worker;

// What the requests of one inbound connection (or of one joined client) share.
struct InboundHttp {
  InboundHttp(Worker& owner, InboundConnection about) : worker(owner), connection(std::move(about)) {}
  Worker& worker;
  InboundConnection connection;
  // Made by the first request that needs them.
  std::shared_ptr<Cell> allowed, denied;
  std::shared_ptr<HttpSeries> series;
  // Requests to come are judged by this description of the pod.
  void policy_changed(const PodRef& now);
};
using InboundHttpRef = std::shared_ptr<InboundHttp>;

// A request for an app of this node: authorized, then forwarded to the app over a pooled plaintext
// connection.
class InboundRequest final : public http::Forward {
 public:
  InboundRequest(InboundHttpRef shared, http::Engine& engine);
  // From a server-side codec.
  http::Peer* take(http::RequestHead& head, bool end, http::ResponsePeer& requester);

 private:
  void route(unsigned attempt) override;
  bool retryable(unsigned attempt) override;
  void on_respond(http::ResponseHead& head) override;
  void on_trailers(const http::Fields& fields) override;
  void on_over(std::uint16_t status, std::string_view error) override;
  void client_ready(http::Client& client) override { use(client); }
  void client_failed(const Error& error) override;

  bool from_mesh() const;
  void count_decision(const Decision& decision);
  void record(std::uint16_t status, std::string_view error, std::chrono::microseconds took);

  InboundHttpRef shared_;
  std::chrono::steady_clock::time_point began_;
  std::string orig_proto_;  // as the other proxy sent it, to be echoed
  std::int16_t grpc_status_ = -1;
};

}  // namespace heddle::proxy
