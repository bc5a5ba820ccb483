// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace heddle {

// A connection that is silent for so many seconds is probed, as often again, and given up so long after as
// many probes have no answer (tcp(7), TCP_KEEPIDLE and TCP_KEEPINTVL, TCP_KEEPCNT). Not TCP_USER_TIMEOUT: it
// also ends connections whose reader answers, but has paused with a full buffer for as long.
inline constexpr int keepalive_seconds = 10;
inline constexpr int keepalive_probes = 2;

// Bytes that the kernel takes on top of what the peer's window and the path let it send (tcp(7),
// TCP_NOTSENT_LOWAT), until it is known how fast the peer reads. Without a limit a reader that pauses is
// given the whole send buffer, which the kernel makes large enough for ten segments: on a node's own
// loopback, whose segments have 64 KiB, 4 MB. Those would be outside of every pod's account.
inline constexpr int unsent_bytes_at_first = 64 * 1024;

// Options of every connection of the mesh, for any TCP socket: no delay, keepalive, few unsent bytes.
// Accepted sockets inherit them from their listener (they are copied with the socket), and a socket keeps
// them from one connection to the next. What the kernel refuses is left as it was.
void set_connection_options(int socket);

}  // namespace heddle
