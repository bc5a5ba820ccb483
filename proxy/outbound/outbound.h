// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "proxy/connection.h"
#include "proxy/io/stream.h"

namespace heddle::proxy {

struct Worker;

// A connection accepted on a pod's outbound listener: discovery, detection (dialling the server meanwhile),
// then serve_outbound_http() or bytes to a balanced endpoint.
void serve_outbound(Worker& worker, PodRef pod, SocketAddress client, SocketAddress original_dst,
                    std::unique_ptr<Stream> stream);

// The same for a destination that is known by other means than the dialled address, and is no longer pending.
void serve_outbound_to(Worker& worker, PodRef pod, SocketAddress client, DestinationRef destination,
                       std::unique_ptr<Stream> stream);

}  // namespace heddle::proxy
