// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "proxy/balance/balancer.h"
#include "proxy/connection.h"
#include "proxy/detect/detect.h"
#include "proxy/discovery/directory.h"
#include "proxy/io/loop.h"
#include "proxy/io/stream.h"
#include "proxy/pods/byte_budget.h"
#include "proxy/pods/pod.h"
#include "proxy/telemetry/telemetry.h"
#include "proxy/tls/tls.h"
#include "proxy/upstream/dial.h"
#include "proxy/upstream/http_pool.h"
#include "proxy/upstream/mesh_pool.h"

namespace heddle::proxy {

struct Settings {
  // Long enough for one lost SYN: it is sent again after a second (RFC 6298 2.1).
  std::chrono::milliseconds outbound_connect_timeout{1500};
  // Within the pod nothing is lost, but an app whose queue of connections is full drops SYNs: after 1, 3 and
  // 7 s they come again. Not Linkerd's 100 ms, which turns a short burst into resets.
  std::chrono::milliseconds inbound_connect_timeout{8000};
  std::chrono::milliseconds handshake_timeout{5000};
  std::chrono::milliseconds detect_timeout{10'000};  // nobody spoke: opaque
  std::chrono::milliseconds first_word_wait{5};      // a client silent for so long: dial the server meanwhile
  std::chrono::milliseconds half_closed_timeout{300'000};  // one side finished and nothing moves
  std::chrono::milliseconds drain_grace{120'000};
  std::chrono::milliseconds http_head_timeout{30'000};     // a request's head, HTTP/2's first SETTINGS
  std::chrono::milliseconds http_idle_timeout{3'600'000};  // a client's connection without a request
  std::chrono::milliseconds http_stall_timeout{300'000};   // content waits, and its receiver takes none of it
  PodLimits pod_limits;                                    // of pods that do not say otherwise
  // The node's own: dialled at a pod's outbound port, they are the pod's forward proxy.
  std::vector<IpAddress> node_addresses;
};

// What one worker thread consists of; everything in it belongs to that thread. Passed by reference to the
// pipelines.
struct Worker {
  Worker(unsigned number, const Settings& common) : index(number), settings(common) {}
  ByteBudget budget(const Pod& of) const { return ByteBudget(of.load); }
  const unsigned index;
  const Settings& settings;
  Loop loop;
  // For one read or decode at a time; its content is gone when the handler returns.
  alignas(64) std::array<std::byte, most_read> scratch;
  // Of this worker's outbound connections and requests: those that have no upstream yet (Awaited).
  std::size_t awaiting_upstream = 0;
  // Filled in by main(), in this order, destroyed in reverse.
  std::unique_ptr<Telemetry> telemetry;
  std::unique_ptr<PodTable> pods;
  std::unique_ptr<Dialer> dialer;
  std::unique_ptr<tls::Endpoint> tls;
  std::unique_ptr<Directory> directory;
  std::unique_ptr<MeshPool> mesh_pool;
  std::unique_ptr<HttpPool> http_pool;
  std::unique_ptr<ConnectionSet> connections;
  // Set once a newer proxy serves: finish what runs, tell HTTP clients to go elsewhere.
  bool draining = false;
  // And since then for long enough that HTTP connections need not wait for a request any more.
  bool idle_ends = false;
};

}  // namespace heddle::proxy
