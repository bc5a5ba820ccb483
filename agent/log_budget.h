// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

namespace heddle::agent {

// How much a peer may make us write: some lines per period, so that whoever sends nonsense does not fill a
// disk. What is not logged is still counted where it is decided. Pure: the caller has the clock.
class LogBudget {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::uint32_t lines = 20;
  static constexpr std::chrono::seconds period{10};

  // True: write the line.
  bool take(Time now) {
    if (now - begun_ >= period) {
      begun_ = now;
      taken_ = 0;
    }
    if (taken_ >= lines) return false;
    ++taken_;
    return true;
  }

 private:
  Time begun_{};
  std::uint32_t taken_ = 0;
};

}  // namespace heddle::agent
