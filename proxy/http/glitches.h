// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace heddle::proxy::http {

// How much a peer may ask of a connection that carries nothing: PINGs, SETTINGS, empty frames, windows opened
// by a byte, streams that it makes us reset. A token bucket: what is honest comes now and then, or along with
// content that we send (window updates, a gRPC peer's PINGs), for which it earns. Pure; one thread.
class Glitches {
 public:
  using Clock = std::chrono::steady_clock;
  Glitches(std::uint32_t burst, std::uint32_t per_second, Clock::time_point now)
      : burst_(burst), per_second_(per_second), left_(burst), filled_(now) {}

  // False: it asked for too much, now and for good.
  bool spend(std::uint32_t cost, Clock::time_point now) {
    if (left_ < cost) fill(now);
    if (left_ < cost) return false;
    left_ -= cost;
    return true;
  }
  void earn(std::uint32_t amount) { left_ = std::min<std::uint64_t>(burst_, left_ + amount); }

 private:
  void fill(Clock::time_point now) {
    const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - filled_).count();
    if (passed <= 0) return;
    filled_ = now;
    left_ = std::min<std::uint64_t>(burst_, left_ + static_cast<std::uint64_t>(passed) * per_second_ / 1000);
  }

  const std::uint32_t burst_, per_second_;
  std::uint64_t left_;
  Clock::time_point filled_;
};

}  // namespace heddle::proxy::http
