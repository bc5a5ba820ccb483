// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "proxy/discovery/directory.h"
#include "proxy/pipeline/upstream.h"

namespace heddle::proxy {

struct Worker;

// Opens a connection to a destination for bytes: picks an endpoint (fewest connections), reaches it over the
// mesh, by joining a pod of this node, or in plaintext when it is unmeshed; tries one other endpoint when
// that fails.
std::unique_ptr<Opening> open_route(Worker& worker, PodRef client_pod, SocketAddress client,
                                    DestinationRef destination, OpenDone done);

}  // namespace heddle::proxy
