// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "proxy/connection.h"
#include "proxy/io/stream.h"

namespace heddle::proxy {

struct Worker;

// A connection accepted on a pod's inbound listener: TLS, authorization, detection, then serve_inbound_*.
void serve_inbound(Worker& worker, PodRef pod, SocketAddress client, SocketAddress original_dst,
                   std::unique_ptr<Stream> stream);

// Bytes for the app: authorizes, dials the app with a brokered socket, relays. Also the far end of a join and
// of a CONNECT stream.
void serve_inbound_opaque(Worker& worker, InboundConnection connection, std::unique_ptr<Stream> stream);

}  // namespace heddle::proxy
