// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace heddle::proxy {

// What the process uses of something, and may use at most; 0: there is no limit.
struct Ceiling {
  std::uint64_t used = 0;
  std::uint64_t limit = 0;
};

// The process' descriptors and memory. Reads /proc and the cgroup's files; one thread.
class Ceilings {
 public:
  // `max_memory`: of resident memory, in bytes; 0: the limit of the process' cgroup (v2), with what the
  // cgroup uses without what the kernel would give up at once.
  explicit Ceilings(std::uint64_t max_memory);

  Ceiling descriptors() const;
  Ceiling memory() const;

 private:
  const std::uint64_t max_memory_;
  std::string cgroup_;  // the folder with the lowest limit at or above the process' cgroup; empty: none
};

}  // namespace heddle::proxy
