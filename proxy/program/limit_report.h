// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "proxy/pods/pod.h"

namespace heddle::proxy {

// What is logged of pods that are limited: the first time at once, then no more than once in a while for each
// pod and limit, with the number of times since. Pure.
class LimitReport {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds pause{30};

  struct Line {
    Limit limit = Limit::connections;
    std::uint64_t times = 0;
  };
  // What is to be said of the pod now.
  std::vector<Line> look(const Pod& pod, Clock::time_point now);
  // What an operator can do about it.
  static const char* next_step(Limit limit);

 private:
  struct Told {
    std::uint64_t netns_cookie = 0;  // ids are given again
    std::array<std::uint64_t, limit_count> counted{};
    std::array<Clock::time_point, limit_count> at{};
  };
  std::map<std::uint32_t, Told> told_;
};

}  // namespace heddle::proxy
