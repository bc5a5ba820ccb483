// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "proxy/balance/balancer.h"
#include "proxy/detect/detect.h"
#include "proxy/pods/pod.h"

namespace heddle::proxy {

struct TcpSeries;

// The counters of a pod's connections to an endpoint, as found for an earlier one: rendering the labels and
// looking them up again would cost every short connection several microseconds.
struct KnownSeries {
  PodRef pod;
  EndpointRef endpoint;
  std::uint8_t wire = 0;  // how the endpoint was reached
  std::string peer_identity;
  std::shared_ptr<TcpSeries> client;
  std::shared_ptr<TcpSeries> upstream;
};

// The same of the inbound side of a join: of an address of the app's pod, for one client's pod.
struct KnownJoin {
  PodRef client_pod;
  PodRef pod;
  SocketAddress address;
  std::shared_ptr<TcpSeries> client;
  std::shared_ptr<TcpSeries> app;
};

// What a dialled address turned out to be, within one worker. Updated in place on the worker as discovery
// learns more; connections hold a reference. With control away the last known state goes on.
struct Destination {
  enum class State : std::uint8_t {
    pending,    // no answer yet
    service,    // balance over `balancer`
    endpoint,   // one address, `endpoint`: a pod dialled directly, or a host that discovery knows nothing
                // about
    not_found,  // discovery says that this does not exist: refuse
  };
  State state = State::pending;
  bool unavailable =
      false;  // not_found only because discovery has not answered yet: refused, not sent in plaintext
  SocketAddress address;             // the original destination
  std::string authority;             // "web.shop.svc.cluster.local:80", or the address
  bool opaque = false;               // declared opaque: no detection
  std::optional<Protocol> declared;  // appProtocol and the like: no detection either
  // Learned here: the server spoke first on an earlier connection, so new ones do not wait (cleared on any
  // update).
  bool server_speaks_first = false;
  // Learned from the last connection of bytes that ended: the client's were the first. Then the server is
  // dialled when they are there, or when they keep it waiting for a moment (cleared on any update).
  bool client_speaks_first = false;
  // Series of the latest connections; a few, and none for long: what is not used shall leave the metrics.
  // Cleared on any update, for the labels may have changed.
  std::vector<KnownSeries> series;
  std::chrono::steady_clock::time_point series_since{};
  std::vector<KnownJoin> joined;  // the same
  std::chrono::steady_clock::time_point joined_since{};
  Balancer balancer;
  EndpointRef endpoint;
  std::map<std::string, std::string>
      labels;  // of the service, for metrics: "namespace" becomes dst_namespace

  explicit Destination(std::uint64_t seed) : balancer(Balancer::Settings{}, seed) {}
};
using DestinationRef = std::shared_ptr<Destination>;

// Discovery as one worker sees it: lookups answer from memory, unknown addresses are asked for and watched
// until unused for a while. Requests of all workers for one address share one gRPC stream.
class Directory {
 public:
  class Waiter {  // destroying it cancels the callback
   public:
    virtual ~Waiter() = default;
  };
  virtual ~Directory() = default;
  // The entry for what `client` dialled; pending ones become something else later.
  virtual DestinationRef lookup(const Pod& client, const SocketAddress& original_dst) = 0;
  // The entry for a service's DNS name, as control knows it. What control does not know becomes not_found: no
  // name is looked up in DNS.
  virtual DestinationRef lookup(const Pod& client, const std::string& name, std::uint16_t port) = 0;
  // Calls back once on this worker, when the entry is no longer pending: answered, or not_found with
  // `unavailable` because control has been silent for 3 s (it might be a meshed pod's address, so never
  // plaintext). Never from inside the call.
  [[nodiscard]] virtual std::unique_ptr<Waiter> when_known(DestinationRef entry,
                                                           std::function<void()> ready) = 0;
};

}  // namespace heddle::proxy
