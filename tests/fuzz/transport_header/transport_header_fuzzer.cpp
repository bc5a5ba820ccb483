// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdlib>

#include "proxy/inbound/transport_header.h"

// What is accepted stays within its bounds and can be written and read again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::proxy;
  const auto decoded = decode_transport_header(std::as_bytes(std::span(data, size)));
  if (!decoded || !*decoded) return 0;
  if ((*decoded)->size > size || (*decoded)->header.port == 0) std::abort();
  const std::string again = encode_transport_header((*decoded)->header);
  const auto twice = decode_transport_header(std::as_bytes(std::span(again)));
  if (!twice || !*twice || (*twice)->header != (*decoded)->header) std::abort();
  return 0;
}
