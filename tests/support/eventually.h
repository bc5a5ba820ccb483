// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <thread>

namespace heddle::test {

// Asks every two milliseconds until the condition holds, and once more when the time is over. For what has no
// event to wait for: another process, another thread, the kernel. The limit only matters when the test fails,
// so it is long enough for a busy machine.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(30)) {
  const auto end = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < end) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return condition();
}

}  // namespace heddle::test
