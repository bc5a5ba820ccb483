// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "base/ip.h"
#include "base/result.h"
#include "proxy/balance/balancer.h"
#include "proxy/io/stream.h"
#include "proxy/pods/pod.h"

namespace heddle::proxy {

struct Worker;

namespace http {
class Client;
class ClientWaiter;
class Engine;
}  // namespace http

// How an endpoint was reached, for logs and metrics.
enum class Wire : std::uint8_t { heddle, linkerd_transparent, linkerd_transport, plaintext, local };
const char* to_string(Wire wire);

// Mesh connections of one worker: one pooled heddle/1 connection per (source pod, endpoint), or whatever wire
// the peer speaks; which it was is remembered per endpoint.
class MeshPool {
 public:
  struct Tunnel {
    std::unique_ptr<Stream> stream;
    Wire wire = Wire::heddle;
    std::string peer_identity;
  };
  using Done = std::function<void(Result<Tunnel>)>;
  class Pending {
   public:
    virtual ~Pending() = default;
  };
  virtual ~MeshPool() = default;

  // What the bytes of a tunnel are, which a peer that takes a transport header wants to know.
  enum class Content : std::uint8_t { bytes, http1 };

  // A byte stream to the app behind `endpoint`, which is meshed (info.identity is set): a CONNECT stream, or
  // a TLS connection of its own to a peer that is no heddle. Never plaintext. `client` is told to the far
  // proxy.
  [[nodiscard]] virtual std::unique_ptr<Pending> open_tunnel(PodRef pod, EndpointRef endpoint,
                                                             SocketAddress client,
                                                             std::chrono::milliseconds timeout,
                                                             Content content, Done done) = 0;
  // A client for requests to the same, or null: then `waiter` is told later. `http2`: the request is
  // HTTP/2's, which matters towards peers that are no heddle and have no hint.
  virtual http::Client* acquire(const PodRef& pod, const EndpointRef& endpoint, bool http2,
                                http::ClientWaiter& waiter) = 0;
  // What the HTTP codecs of this worker share; lives here, as this pool outlives everything that uses it.
  virtual http::Engine& engine() = 0;
  // The pod left this node: its connections are reset, who waits for one is told.
  virtual void forget(std::uint32_t pod_id) = 0;
  virtual void drain() = 0;
  // Streams on connections between proxies, those too of which only the last bytes are still to be sent.
  virtual bool has_streams() const = 0;
};
std::unique_ptr<MeshPool> make_mesh_pool(Worker& worker);

}  // namespace heddle::proxy
