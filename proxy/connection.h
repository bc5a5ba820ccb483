// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/ip.h"
#include "proxy/discovery/directory.h"
#include "proxy/pods/pod.h"
#include "proxy/tls/tls.h"

namespace heddle::proxy {

struct Worker;

// One accepted connection (or one mesh connection, or one CONNECT stream) and everything that serves it.
// Owned by its worker's ConnectionSet; deletes itself by ConnectionSet::done().
class Connection {
 public:
  explicit Connection(PodRef owner) : pod(std::move(owner)) {}
  virtual ~Connection() = default;
  // A newer proxy serves: finish what runs and end at the next clean point (HTTP/1 `connection: close`,
  // GOAWAY).
  virtual void drain() = 0;
  // Has been draining for long: ends if it waits for a request, else as soon as it would.
  virtual void end_idle() {}
  // Ends now (pod removed, grace over): resets both sides, then done().
  virtual void abort() = 0;
  // The policy of a pod changed, of this connection's own or of one that it is joined to: what is no longer
  // allowed ends, and what comes next is judged by `now`.
  virtual void policy_changed(const PodRef& now) { static_cast<void>(now); }

  const PodRef pod;

 private:
  friend class ConnectionSet;
  Connection* previous_ = nullptr;
  Connection* next_ = nullptr;
  bool adopted_ = false;
};

// The live connections of one worker, with their number per pod. Worker-local.
class ConnectionSet {
 public:
  explicit ConnectionSet(Worker& worker);
  ~ConnectionSet();
  // False when the pod's limit is reached: the connection is destroyed (reset) and counted.
  bool adopt(std::unique_ptr<Connection> connection);
  // Deletes after the current handler returned (Loop::defer); safe to call from inside the connection.
  void done(Connection& connection);
  void drain_all();
  void drain_all(std::uint32_t pod_id);
  void end_idle();
  void end_idle(std::uint32_t pod_id);
  void abort_all(std::uint32_t pod_id);
  void abort_all();
  void abort_youngest(std::uint32_t pod_id, std::size_t count);
  // To all connections, for joins belong to the client's pod.
  void policy_changed(const PodRef& now);
  std::size_t size() const;
  std::size_t size(std::uint32_t pod_id) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// What the outbound pipeline knows of a connection when the protocol is known.
struct OutboundConnection {
  PodRef pod;
  SocketAddress client;        // the app's socket
  DestinationRef destination;  // no longer pending
};

enum class TlsState : std::uint8_t {
  none,         // plaintext from an unmeshed client
  mutual,       // verified peer certificate: peer_identity is proven
  anonymous,    // our certificate, none of the client's
  passthrough,  // TLS of the apps' own, not ours to end
  local,        // joined in this process: the identity is the kernel's word
};

// What the inbound pipeline knows once TLS is dealt with.
struct InboundConnection {
  PodRef pod;                  // whose app is dialled
  SocketAddress client;        // where the connection (or the client behind the tunnel) comes from
  SocketAddress original_dst;  // the pod's address and the app's port
  TlsState tls = TlsState::none;
  std::string peer_identity;
};

}  // namespace heddle::proxy
