// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "proxy/pods/pod_limits.h"

namespace heddle::proxy {

// Which pods have to use less before the process runs out of something. Pure.
//
// From `begin` of the limit on, the pod that uses most sheds: nothing new is taken from it, and what it does
// not need is closed. While that does not help, another one is added every `patience`. From `urgent` on those
// that shed lose connections that are in use too. It ends below `end`, well apart from where it began.
class ShedPolicy {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr double begin = 0.85;
  static constexpr double urgent = 0.95;
  static constexpr double end = 0.75;
  static constexpr std::chrono::milliseconds patience{1000};

  // One pod's part of what is short, in the same unit as `used` and `limit`.
  struct Use {
    std::uint32_t pod = 0;
    std::uint64_t amount = 0;
  };
  struct Decision {
    std::vector<std::uint32_t> shedding;  // all that shed now
    std::vector<std::uint32_t> begun;     // since the last look
    std::vector<std::uint32_t> ended;
    bool reset = false;  // and their connections are to be reset, some at each look
  };

  // To be called a few times a second. `limit` 0: there is none.
  Decision look(std::uint64_t used, std::uint64_t limit, std::span<const Use> pods, Clock::time_point now);

 private:
  const Use* next_offender(std::span<const Use> pods) const;
  bool sheds(std::uint32_t pod) const;

  std::vector<std::uint32_t> shedding_;
  Clock::time_point added_{};
};

}  // namespace heddle::proxy
