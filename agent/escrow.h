// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>

#include "base/fd.h"
#include "base/result.h"

namespace heddle::agent {

// What the agent holds of a meshed pod. As long as any of these is open the netns and its veth live on after
// the runtime deleted them: they are closed on DEL.
struct HeldSockets {
  Fd netns;
  Fd outbound;  // listeners in the pod's netns
  Fd inbound;
};

// Fills in those of the two that are missing or listen no more (a proxy can end a socket it shares):
// listeners on [::] (dual-stack; 0.0.0.0 where the netns has no IPv6), backlog 4096, non-blocking, with lo
// brought up. EADDRINUSE names the port. Enters the netns for as long as it takes. On an error nothing is
// changed.
Result<> open_listeners(int netns_fd, std::uint16_t outbound_port, std::uint16_t inbound_port,
                        HeldSockets& held);

// The descriptor is a TCP listener on `port`.
Result<> check_listener(int fd, std::uint16_t port);
// The network namespace a socket lives in (SIOCGSKNS, ioctl_ns(2)): works when no path leads there any more.
Result<Fd> netns_of_socket(int fd);

// The agent's copies of pods' listeners, by container id.
class Escrow {
 public:
  HeldSockets* find(const std::string& container_id);
  HeldSockets& keep(const std::string& container_id, HeldSockets sockets);
  void close(const std::string& container_id) { held_.erase(container_id); }
  std::size_t size() const { return held_.size(); }

 private:
  std::unordered_map<std::string, HeldSockets> held_;
};

}  // namespace heddle::agent
