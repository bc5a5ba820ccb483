// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/ip.h"
#include "base/result.h"
#include "proxy/telemetry/recorder.h"
#include "proxy/telemetry/registry.h"

namespace heddle::proxy {

// What /ready answers; set by whoever knows, read by the admin thread.
struct Readiness {
  std::atomic<bool> snapshot{false};   // the agent's pods are being served (SnapshotAck was sent)
  std::atomic<bool> discovery{false};  // control has been reached once; stays true when it goes away later
  std::atomic<bool> draining{false};   // a newer proxy serves

  // Nothing when ready, else why not, in words. Pods that already run are served whatever this says.
  std::optional<std::string> missing() const;
};

struct AdminOptions {
  // The TCP listener (/metrics /ready /live). While an older proxy holds the address, binding is tried again
  // every 200 ms. Port 0 takes any (tests).
  std::optional<SocketAddress> address;
  // The UNIX socket with everything, mode 0600. An existing socket there is replaced (a newer proxy takes
  // over). Empty: none. Its folder must exist and be writable.
  std::string socket_path;
};

// What the server asks of the rest. All are called on the admin thread; Reply may be called later, once, from
// any thread, with a JSON document. A question unanswered for 5 s is answered with 504.
struct AdminHooks {
  using Reply = std::function<void(std::string json)>;
  std::function<void(Reply)> state;
  // /explain?pod=NS/NAME&dst=IP:PORT: what the proxy would do with that connection.
  std::function<void(std::string pod, SocketAddress dst, Reply)> explain;
};

// The proxy's HTTP server on a thread of its own; no traffic of pods passes it. Start it after privileges
// were dropped and before or after the seccomp filter: its system calls are socket, setsockopt, bind, listen,
// accept4, epoll_*, eventfd2, timerfd_*, sendmsg, recvmsg, unlink, chmod, clone3 (one thread) and, for
// process metrics, openat and getdents64 below /proc/self.
class AdminServer {
 public:
  // `registry`, `readiness` and `recorder` must outlive it. Errors only for the UNIX socket (path too long,
  // folder missing): the TCP address is never fatal.
  static Result<std::unique_ptr<AdminServer>> start(AdminOptions options, MetricsRegistry& registry,
                                                    const Readiness& readiness, Recorder& recorder,
                                                    AdminHooks hooks);
  // Stops the thread, closes everything. The socket file is removed only if it is still ours.
  virtual ~AdminServer() = default;
  // The bound TCP port; 0 while the address is busy.
  virtual std::uint16_t port() const = 0;
  // Leaves the TCP address to a newer proxy, which answers there from now on; the UNIX socket stays.
  virtual void release_address() = 0;
};

}  // namespace heddle::proxy
