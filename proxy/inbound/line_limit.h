// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace heddle::proxy {

// So many lines of the log a second; what exceeds them is counted and told with the next one. Pure.
class LineLimit {
 public:
  using Time = std::chrono::steady_clock::time_point;
  explicit LineLimit(std::uint32_t a_second) : most_(a_second) {}
  // Nothing: leave this line out. Else how many were left out before it.
  std::optional<std::uint64_t> admit(Time now);

 private:
  const std::uint32_t most_;
  Time second_began_{};
  std::uint32_t said_ = 0;
  std::uint64_t left_out_ = 0;
};

}  // namespace heddle::proxy
