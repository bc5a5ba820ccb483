// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>

#include "base/ip.h"

namespace heddle::proxy {

// Addresses that lately began mesh TLS with us: from them a ClientHello is still to be expected when the app
// behind has spoken already. Forgets by collision; being wrong costs a wait, never a connection. One per
// worker.
class MeshPeers {
 public:
  void remember(const IpAddress& ip) { slot(ip) = ip; }
  bool knows(const IpAddress& ip) const { return slots_[index(ip)] == ip && !ip.is_unspecified(); }

 private:
  static std::size_t index(const IpAddress& ip);
  IpAddress& slot(const IpAddress& ip) { return slots_[index(ip)]; }
  std::array<IpAddress, 1024> slots_{};
};

// This thread's.
MeshPeers& mesh_peers();

}  // namespace heddle::proxy
