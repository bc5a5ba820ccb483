// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/ip.h"
#include "tests/bench/traffic/poller.h"

namespace heddle::bench {

// Each listens and serves on the poller's thread for as long as the program runs.

// HTTP/1.1: every request gets 200 and 128 bytes. Requests with content are not understood.
void serve_http1(Poller& poller, const SocketAddress& at);
// HTTP/2 by prior knowledge: GET gets 200 and 128 bytes; POST, after its content, a gRPC answer of 100 bytes
// with the trailer grpc-status: 0.
void serve_http2(Poller& poller, const SocketAddress& at);
// Bytes: a connection whose first byte is 'D' is followed by 8 bytes, the number (little endian) of bytes it
// gets before its end; any other gets back what it sends.
void serve_bytes(Poller& poller, const SocketAddress& at);

}  // namespace heddle::bench
