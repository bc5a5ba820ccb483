// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"
#include "proxy/pods/node_pods.h"

namespace heddle::proxy {

// One worker as the link thread sees it. Calls return at once; what they ask for happens on the worker's
// thread, in order. Callbacks come on the worker's thread.
class Lane {
 public:
  virtual ~Lane() = default;
  // Serve this pod. `listeners` is null when only the description changed. `done` says whether it listens
  // (empty) or why not.
  virtual void upsert(PodRef pod, std::shared_ptr<PodListeners> listeners,
                      std::function<void(const std::string& error)> done) = 0;
  // The pod was released and lives on: its connections are told to end, new ones only taken as far as they
  // were on their way. upsert() takes it back, remove() ends it.
  virtual void retire(std::uint32_t id, std::uint64_t netns_cookie) = 0;
  // Stop serving it; its connections are reset, for its processes are gone.
  virtual void remove(std::uint32_t id, std::uint64_t netns_cookie) = 0;
  virtual void sockets(std::uint32_t pod_id, bool ipv6, std::vector<Fd> sockets, std::string error) = 0;
  // The agent's snapshot is complete: what it was asked before is forgotten.
  virtual void agent_ready() = 0;
  // Stop accepting, let connections end; `empty` is called when none is left.
  virtual void drain(std::function<void()> empty) = 0;
  // While it drains: close HTTP connections that wait for a request, and from now on as soon as they do.
  virtual void end_idle() = 0;
  // `done` gets the number of connections and requests that wait for an upstream, or for a socket to it.
  virtual void count_waiting(std::function<void(std::size_t waiting)> done) = 0;
  // Reset what is left; `done` gets their number.
  virtual void cut(std::function<void(std::size_t connections)> done) = 0;
};

}  // namespace heddle::proxy
