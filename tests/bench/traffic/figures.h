// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace heddle::bench {

// Durations in nanoseconds, to 1/64 of their size.
class Histogram {
 public:
  Histogram() : counts_(buckets) {}
  void add(std::uint64_t ns);
  void clear();
  std::uint64_t count() const { return count_; }
  // In microseconds; `part` is 0.5 for the median. 0 of nothing.
  double at(double part) const;

 private:
  static constexpr std::size_t buckets = 40 * 64;
  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  std::uint64_t most_ = 0;
};

// What a load program found. `all_requests` counts those of the warm-up too: the proxies' CPU is read around
// the whole program.
struct Figures {
  Histogram latency;
  std::uint64_t requests = 0;
  std::uint64_t warm_up_requests = 0;
  std::uint64_t bytes = 0;
  std::uint64_t errors = 0;
  std::string first_error;
  double seconds = 0;

  // `why` of the first is kept.
  void failed(const std::string& why);
  // The warm-up is over: what was counted so far is the warm-up's.
  void begin();
  // One line of JSON on standard output.
  void print() const;
};

}  // namespace heddle::bench
