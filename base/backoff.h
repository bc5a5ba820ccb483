// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>

namespace heddle {

// Exponential backoff with jitter: doubles from `min` to `max`, each wait lengthened by up to `jitter` of
// itself. Pure: the caller sleeps. Not thread-safe.
class Backoff {
 public:
  struct Policy {
    std::chrono::milliseconds min{100};
    std::chrono::milliseconds max{10'000};
    double jitter = 0.1;
  };
  explicit Backoff(Policy policy, std::uint64_t seed = 0x9e3779b97f4a7c15u);

  // The next wait.
  std::chrono::milliseconds next();
  // After a success.
  void reset() { current_ = policy_.min; }

 private:
  Policy policy_;
  std::chrono::milliseconds current_;
  std::uint64_t random_;
};

}  // namespace heddle
