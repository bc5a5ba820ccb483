// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>

namespace heddle::control {

// A token bucket: `burst` at once, then `per_second`. Not thread-safe.
class Rate {
 public:
  using Time = std::chrono::steady_clock::time_point;

  Rate(double per_second, double burst) : per_second_(per_second), burst_(burst), level_(burst) {}

  bool take(Time now) {
    if (last_ != Time()) {
      level_ = std::min(burst_, level_ + per_second_ * std::chrono::duration<double>(now - last_).count());
    }
    last_ = now;
    if (level_ < 1) return false;
    level_ -= 1;
    return true;
  }

 private:
  double per_second_;
  double burst_;
  double level_;
  Time last_;
};

}  // namespace heddle::control
