// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace heddle::proxy {

// How a TLS ClientHello at the beginning of `bytes` reads.
struct ClientHello {
  enum class State : std::uint8_t {
    not_tls,     // these bytes begin no TLS connection
    incomplete,  // they may; more are needed
    complete,
  };
  State state = State::not_tls;
  std::string sni;  // complete only: lower case, empty without the extension
};

// Pure and bounded: one or more handshake records (RFC 8446 5.1) that hold a ClientHello (4.1.2), possibly
// split anywhere; the name is RFC 6066 3's host_name.
ClientHello parse_client_hello(std::span<const std::byte> bytes);

}  // namespace heddle::proxy
