// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>

#include "base/ip.h"
#include "proxy/pods/pod.h"

namespace heddle::proxy {

struct Worker;
class HttpSeriesCache;

namespace http {
class Client;
class ClientWaiter;
class Engine;
}  // namespace http

// Plaintext HTTP connections of one worker: to unmeshed endpoints and to the pods' own apps, HTTP/1.1 kept
// alive and HTTP/2 shared, per (pod, address, protocol).
class HttpPool {
 public:
  struct Key {
    PodRef pod;  // in whose netns
    SocketAddress to;
    bool http2 = false;
    // To an app that shall see its client's address: the connection is shared by requests of that client's
    // address only (the port shown is that of the client's connection which opened it).
    std::optional<SocketAddress> show_client;
  };
  virtual ~HttpPool() = default;
  // A client that can take a request now, or null: then `waiter` is told later. Errors are the Dialer's.
  virtual http::Client* acquire(const Key& key, http::ClientWaiter& waiter) = 0;
  // What the HTTP codecs of this worker share.
  virtual http::Engine& engine() = 0;
  virtual HttpSeriesCache& series() = 0;
  // The pod left this node: its connections are reset, who waits for one is told.
  virtual void forget(std::uint32_t pod_id) = 0;
  // Closes idle connections; new ones are not kept when their request is done.
  virtual void drain() = 0;
};
std::unique_ptr<HttpPool> make_http_pool(Worker& worker);

}  // namespace heddle::proxy
