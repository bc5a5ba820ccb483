// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound/mesh_peers.h"

namespace heddle::proxy {

std::size_t MeshPeers::index(const IpAddress& ip) {
  return IpHash{}(ip) % 1024;
}

MeshPeers& mesh_peers() {
  thread_local MeshPeers peers;
  return peers;
}

}  // namespace heddle::proxy
