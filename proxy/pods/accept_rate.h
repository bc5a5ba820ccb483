// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace heddle::proxy {

// A bucket of tokens, one for each connection that may be accepted, refilled at a rate and full after a
// second without any. Shared by all workers, no lock: all of it is the time at which the bucket would be full
// again. Pure; times are of any one clock.
class AcceptRate {
 public:
  using Time = std::chrono::nanoseconds;
  static constexpr Time burst{1'000'000'000};
  // Who has to wait does so for this much of the rate at least, so that waiting costs little.
  static constexpr Time least_wait{10'000'000};

  // Takes a token; false: there is none.
  bool take(Time now, std::uint32_t per_second) {
    std::int64_t before = full_at_.load(std::memory_order_relaxed);
    while (true) {
      const std::int64_t after = std::max(before, now.count()) + interval(per_second);
      if (after - now.count() > std::max(burst.count(), interval(per_second))) return false;
      if (full_at_.compare_exchange_weak(before, after, std::memory_order_relaxed)) return true;
    }
  }

  // A token that was not needed.
  void give_back(std::uint32_t per_second) {
    full_at_.fetch_sub(interval(per_second), std::memory_order_relaxed);
  }

  // After take() failed: how long until it is worth to try again.
  Time wait(Time now, std::uint32_t per_second) const {
    const std::int64_t some = std::max(interval(per_second), least_wait.count());
    const std::int64_t most = std::max(burst.count(), interval(per_second));
    const std::int64_t wait = full_at_.load(std::memory_order_relaxed) + some - most - now.count();
    return Time(std::clamp(wait, std::int64_t{1'000'000}, burst.count()));
  }

 private:
  static std::int64_t interval(std::uint32_t per_second) {
    return burst.count() / std::max<std::int64_t>(1, per_second);
  }

  std::atomic<std::int64_t> full_at_{0};
};

}  // namespace heddle::proxy
