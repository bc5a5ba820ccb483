// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdint>

namespace heddle::proxy {

// How much unsent data of a connection the kernel may hold (TCP_NOTSENT_LOWAT), in bytes, a power of two:
// what its reader takes in 50 ms. Who reads fast is served in large pieces, for who reads slowly little is
// put aside. `least` at least, 1 MiB at most. Pure. `taken`: bytes that the kernel took in `time`, from one
// time that it had no room to the next.
inline int unsent_room(std::uint64_t taken, std::chrono::nanoseconds time, int least) {
  constexpr std::uint64_t most = 1 << 20;
  constexpr std::uint64_t parts_of_a_second = 20;
  const auto passed = static_cast<std::uint64_t>(std::max<std::int64_t>(time.count(), 1));
  // Counts stay far below 2^64: of what is beyond 2^32 bytes nothing depends.
  const std::uint64_t room =
      std::min<std::uint64_t>(taken, UINT32_MAX) * (1'000'000'000 / parts_of_a_second) / passed;
  return static_cast<int>(
      std::bit_floor(std::clamp<std::uint64_t>(room, static_cast<std::uint64_t>(least), most)));
}

}  // namespace heddle::proxy
