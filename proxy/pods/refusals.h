// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace heddle::proxy {

// Why a peer of a pod's connections was turned away for what it did itself (docs/limits.md).
enum class Refusal : std::uint8_t {
  malformed,  // could be read in two ways, or is no HTTP
  too_large,  // a head
  too_slow,   // a head, or HTTP/2's first SETTINGS
  flood,      // frames that carry nothing, resets, fields that expand
  handshake,  // more TLS handshakes at once than a pod may have
  stalled,    // reads nothing of what waits for it
};
constexpr std::size_t refusal_count = 6;

constexpr const char* to_string(Refusal why) {
  switch (why) {
    case Refusal::malformed:
      return "malformed";
    case Refusal::too_large:
      return "too_large";
    case Refusal::too_slow:
      return "too_slow";
    case Refusal::flood:
      return "flood";
    case Refusal::handshake:
      return "handshake";
    case Refusal::stalled:
      return "stalled";
  }
  return "";
}

// How often, from any thread.
class Refusals {
 public:
  void count(Refusal why) { counts_[static_cast<std::size_t>(why)].fetch_add(1, std::memory_order_relaxed); }
  std::uint64_t of(Refusal why) const {
    return counts_[static_cast<std::size_t>(why)].load(std::memory_order_relaxed);
  }

 private:
  std::array<std::atomic<std::uint64_t>, refusal_count> counts_{};
};

}  // namespace heddle::proxy
