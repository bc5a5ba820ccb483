// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace heddle::proxy {

enum class Protocol : std::uint8_t { http1, http2, tls, opaque };
const char* to_string(Protocol protocol);

struct Detected {
  Protocol protocol = Protocol::opaque;
  std::string sni;  // tls only, lower case, may be empty
};

// How many bytes of the client's beginning detection ever looks at.
constexpr std::size_t max_detect_bytes = 16 * 1024;

// What the client's first bytes are, or nothing while more are needed. `ended`: the client sent FIN, no more
// will come. Pure, bounded, never fails: what is not understood is opaque. HTTP/2 by its preface (RFC
// 9113 3.4), TLS by one or more records that hold a whole ClientHello (RFC 8446 4.1.2), HTTP/1 by a complete
// request line. One that only a forgiving server would take for such is HTTP/1 as well: as bytes it would
// reach that server with whatever fields the client made up. So is one longer than we look at.
std::optional<Detected> detect(std::span<const std::byte> bytes, bool ended);

// Does a server begin so that speaks HTTP/2? With a SETTINGS frame that is no acknowledgement (RFC 9113 3.4,
// 6.5), which many send before their client has said anything: a client has the first word all the same.
// `bytes`: the server's first; false while there are fewer than a frame's head.
bool is_http2_server(std::span<const std::byte> bytes);

}  // namespace heddle::proxy
