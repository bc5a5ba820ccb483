// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdlib>

#include "proxy/detect/detect.h"

// Whatever comes: no crash, and an answer never changes when more bytes follow.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  const auto whole = heddle::proxy::detect(bytes, false);
  const auto ended = heddle::proxy::detect(bytes, true);
  if (!ended) std::abort();
  if (size > 1) {
    const auto half = heddle::proxy::detect(bytes.first(size / 2), false);
    if (half && (!whole || half->protocol != whole->protocol)) std::abort();
  }
  if (size >= heddle::proxy::max_detect_bytes && !whole) std::abort();
  if (heddle::proxy::is_http2_server(bytes) && size < 9) std::abort();
  return 0;
}
