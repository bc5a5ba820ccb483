// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include "base/backoff.h"

namespace heddle::cni {

// How soon a file that somebody keeps rewriting is restored again: the first few times at once, then ever
// later, so that two programs never fight at full speed. PURE: the caller has the clock and waits.
class Throttle {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr int free_restores = 3;
  static constexpr std::chrono::seconds forget_after{60};

  // After a restore: how long to leave the file alone.
  std::chrono::milliseconds restored(Time now) {
    if (count_ > 0 && now - last_ >= std::max<std::chrono::milliseconds>(forget_after, 2 * wait_)) {
      count_ = 0;
      backoff_.reset();
    }
    last_ = now;
    ++count_;
    wait_ = count_ <= free_restores ? std::chrono::milliseconds(0) : backoff_.next();
    return wait_;
  }
  // Restores since the last quiet minute; beyond free_restores somebody is at war with us.
  int count() const { return count_; }

 private:
  Backoff backoff_{{std::chrono::milliseconds(1'000), std::chrono::milliseconds(60'000), 0.1}};
  Time last_{};
  std::chrono::milliseconds wait_{0};
  int count_ = 0;
};

}  // namespace heddle::cni
