// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "base/ip.h"
#include "base/result.h"
#include "proxy/io/stream.h"
#include "proxy/pods/pod.h"

namespace heddle::proxy {

struct DialRequest {
  PodRef pod;  // in whose netns: its brokered sockets are used
  SocketAddress to;
  // The client that the app on the other side shall see (getpeername hook); only for connections to the pod's
  // app.
  std::optional<SocketAddress> show_client;
  std::chrono::milliseconds timeout{1000};
};

// While the agent is away, dials beyond the reserve wait for the next agent: an upgrade or a crash of it must
// not fail connections. Where a DaemonSet's pod is not replaced before the old one is gone without a trace,
// kubelet alone takes some 15 s. The connect time-out begins when there is a socket to connect.
constexpr std::chrono::milliseconds socket_patience{60'000};

// Opens TCP connections with sockets of the agent's broker. One per worker.
class Dialer {
 public:
  using Done = std::function<void(Result<std::unique_ptr<Stream>>)>;
  // A pending dial; destroying it cancels, and `done` is then not called.
  class Pending {
   public:
    virtual ~Pending() = default;
  };
  virtual ~Dialer() = default;
  // Exactly one later call of `done` on this worker, never from inside dial(). Errors carry errno
  // (ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH) or Errc::unavailable when no socket came within
  // `socket_patience`.
  [[nodiscard]] virtual std::unique_ptr<Pending> dial(DialRequest request, Done done) = 0;
};

}  // namespace heddle::proxy
