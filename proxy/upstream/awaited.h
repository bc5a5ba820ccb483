// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace heddle::proxy {

// Counts, for as long as it lives, one connection or request of a worker that has no upstream yet: what it
// waits for may be under way to be replaced. On the worker's thread.
class Awaited {
 public:
  explicit Awaited(std::size_t& count) : count_(count) { ++count_; }
  ~Awaited() { --count_; }
  Awaited(const Awaited&) = delete;
  Awaited& operator=(const Awaited&) = delete;

 private:
  std::size_t& count_;
};

}  // namespace heddle::proxy
