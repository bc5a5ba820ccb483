// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/ip.h"
#include "tests/bench/traffic/figures.h"

namespace heddle::bench {

struct Load {
  SocketAddress to;
  int connections = 1;
  double seconds = 2;
  double warm_up_seconds = 0.2;
  // Requests per second over all connections, sent when they are due whatever became of those before on other
  // connections; 0: each connection sends when it has its answer.
  double rate = 0;
  // Of one message of a ping.
  std::size_t message = 64;
  // Of a bulk transfer.
  std::uint64_t bytes = std::uint64_t{1} << 30;
};

// GET over kept connections. A latency is counted from when the request was due.
Figures load_http1(const Load& load);
// GET over a connection each.
Figures load_http1_connections(const Load& load);
// A message there and back, over kept connections.
Figures load_ping(const Load& load);
// One byte there and back, over a connection each.
Figures load_connections(const Load& load);
// `bytes` from the server, over one connection.
Figures load_bulk(const Load& load);
// Opens `connections`, each with one exchange (HTTP/1.1 if `http1`, else bytes), says "ready N" on standard
// output, N being how many have had theirs, and holds them until standard input ends.
void hold_idle(const Load& load, bool http1);

}  // namespace heddle::bench
