// SPDX-License-Identifier: Apache-2.0
// Certificates from peers and from the agent: names are plain, few and short whatever the DER says.
#include <cstdlib>

#include "proxy/tls/names.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto names = heddle::proxy::tls::names_of_der(std::as_bytes(std::span(data, size)));
  if (names.size() > 64) std::abort();
  for (const auto& name : names) {
    if (name.empty() || name.size() > 512) std::abort();
    for (const unsigned char c : name) {
      if (c <= 0x20 || c >= 0x7f) std::abort();
    }
  }
  return 0;
}
