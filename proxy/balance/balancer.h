// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ip.h"

namespace heddle::proxy {

enum class ProtocolHint : std::uint8_t { none, h2, opaque };

// One address of a service, as discovery describes it.
struct EndpointInfo {
  SocketAddress address;
  std::string identity;     // expected of the peer; empty: unmeshed
  std::string server_name;  // SNI
  ProtocolHint hint = ProtocolHint::none;
  std::uint16_t opaque_transport_port = 0;  // Linkerd's inbound port when the header must be used; 0: none
  std::map<std::string, std::string> labels;

  auto operator<=>(const EndpointInfo&) const = default;
};

// An endpoint within one worker's balancer: its load. Kept alive by whoever uses it after it left the set.
class Endpoint {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Endpoint(EndpointInfo described) : info(std::move(described)) {}

  const EndpointInfo info;
  bool removed = false;           // left the set: finish what runs, start nothing
  std::uint32_t pending = 0;      // requests in flight
  std::uint32_t connections = 0;  // opaque connections open
  double ewma_ns = 0;             // peak EWMA of round trips; 0: no sample yet
  Clock::time_point ewma_at{};
  Clock::time_point silent_since{};  // requests in flight, and since then none of them was answered
};
using EndpointRef = std::shared_ptr<Endpoint>;

// Power of two choices over the live set. Worker-local, pure but for its random state: time is passed in.
class Balancer {
 public:
  struct Settings {
    std::chrono::nanoseconds default_rtt = std::chrono::milliseconds(30);
    std::chrono::nanoseconds decay = std::chrono::seconds(10);
  };
  explicit Balancer(Settings settings, std::uint64_t seed);

  // Replaces the set; endpoints whose info is unchanged keep their load.
  void update(const std::vector<EndpointInfo>& set);
  bool empty() const { return endpoints_.empty(); }
  const std::vector<EndpointRef>& endpoints() const { return endpoints_; }

  // Cheapest of two random ones: EWMA x (pending + 1) for requests, fewest connections for opaque. Null when
  // empty. `avoid` (a just failed endpoint) is passed over where there is a choice.
  EndpointRef pick_for_request(Endpoint::Clock::time_point now, const Endpoint* avoid = nullptr);
  EndpointRef pick_for_connection(const Endpoint* avoid = nullptr);

  // Around each request: begin, then end with the time to the first byte of the answer (or to its failure).
  void begin(Endpoint& endpoint) { ++endpoint.pending; }
  void end(Endpoint& endpoint, std::chrono::nanoseconds rtt, Endpoint::Clock::time_point now);

  // EWMA x (pending + 1) in nanoseconds at `now`; for an endpoint that owes answers the EWMA is at least the
  // time since its last one. Estimates fade: without that, one that takes requests and never answers would
  // look better the longer it is silent.
  double cost(const Endpoint& endpoint, Endpoint::Clock::time_point now) const;

 private:
  std::uint64_t random();
  Settings settings_;
  std::uint64_t state_;
  std::vector<EndpointRef> endpoints_;
};

}  // namespace heddle::proxy
