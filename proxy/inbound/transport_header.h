// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"

namespace heddle::proxy {

// The header of Linkerd's transport (api/linkerd/transport_header.proto): which port of the pod the bytes are
// for.
struct TransportHeader {
  enum class Session : std::uint8_t { bytes, http1, http2 };
  std::uint16_t port = 0;
  std::string name;  // set towards a gateway only
  Session session = Session::bytes;

  bool operator==(const TransportHeader&) const = default;
};

// Whole, preface included. Linkerd's own reader takes 64 KiB, but no header is larger than a name, and each
// that is awaited holds so much.
constexpr std::size_t max_transport_header_bytes = 4 * 1024;

struct DecodedTransportHeader {
  TransportHeader header;
  std::size_t size = 0;  // bytes it took; the app's follow
};

// Nothing while more bytes are needed; Errc::protocol for what no Linkerd proxy sends. Pure, bounded.
Result<std::optional<DecodedTransportHeader>> decode_transport_header(std::span<const std::byte> bytes);
std::string encode_transport_header(const TransportHeader& header);

}  // namespace heddle::proxy
