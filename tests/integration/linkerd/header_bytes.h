// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace heddle::test {

// Linkerd's transport header by hand: what it is on the wire, not what the code under test makes of it.
inline const std::string transport_alpn = "transport.l5d.io/v1";
inline const std::string magic = "transport.l5d.io/v1\r\n\r\n";

// The message behind its preface and length.
inline std::string header_bytes(const std::string& message) {
  std::string out = magic;
  const auto size = static_cast<std::uint32_t>(message.size());
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(size >> shift & 0xff);
  return out + message;
}
// port = 1 (varint), session_protocol = 3 { http1 = 1 {} | http2 = 2 {} }.
inline std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(0x80 | (value & 0x7f));
  return out + static_cast<char>(value);
}
inline std::string port_field(std::uint64_t port) {
  return "\x08" + varint(port);
}
inline const std::string session_http1("\x1a\x02\x0a\x00", 4);
inline const std::string session_http2("\x1a\x02\x12\x00", 4);
inline std::string name_field(const std::string& name) {
  return "\x12" + varint(name.size()) + name;
}

}  // namespace heddle::test
