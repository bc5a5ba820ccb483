// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace heddle::agent {

// Unconnected, non-blocking TCP sockets made inside a netns, entered once for all of them: AF_INET6
// dual-stack or AF_INET, with set_connection_options(), which stay with them from connection to connection.
// `tag` marks each as the mesh's own before anybody can use it; its failure fails all.
Result<std::vector<Fd>> make_mesh_sockets(int netns_fd, bool ipv6, std::uint32_t count,
                                          const std::function<Result<>(int)>& tag);

// Where nat rules redirect: SO_MARK, how mesh sockets are told apart (socket(7)).
Result<> prepare_marked(int socket, std::uint32_t mark);

}  // namespace heddle::agent
