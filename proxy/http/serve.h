// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "proxy/connection.h"
#include "proxy/detect/detect.h"
#include "proxy/io/stream.h"

namespace heddle::proxy {

struct Worker;

// The seams between the pipelines and HTTP. Each takes the stream over, adopts a Connection into
// `worker.connections`, and returns at once.

// Requests of an app of this node: each is routed, balanced over destination, retried where that is safe,
// sent over the mesh, joined, or sent in plaintext to an unmeshed endpoint.
void serve_outbound_http(Worker& worker, OutboundConnection connection, Protocol protocol,
                         std::unique_ptr<Stream> stream);

// Requests for an app of this node, arriving outside a heddle/1 connection (unmeshed clients, Linkerd's
// proxies): each is authorized and forwarded to the app.
void serve_inbound_http(Worker& worker, InboundConnection connection, Protocol protocol,
                        std::unique_ptr<Stream> stream);

// A heddle/1 connection from another node's proxy: HTTP/2 whose streams are requests or CONNECT tunnels.
// Tunnels are handed to serve_inbound_opaque() (inbound/inbound.h).
void serve_inbound_mesh(Worker& worker, InboundConnection connection, std::unique_ptr<Stream> stream);

}  // namespace heddle::proxy
