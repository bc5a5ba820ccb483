// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/traffic/figures.h"

#include <algorithm>
#include <bit>
#include <cstdio>

namespace heddle::bench {
namespace {

constexpr std::uint64_t parts = 64;  // of each power of two

std::size_t bucket_of(std::uint64_t ns) {
  if (ns < parts) return ns;
  const auto shift = static_cast<std::uint64_t>(std::bit_width(ns)) - 7;
  return (shift + 1) * parts + ((ns >> shift) - parts);
}

// The middle of a bucket.
double value_of(std::size_t bucket) {
  if (bucket < parts) return static_cast<double>(bucket);
  const std::size_t shift = bucket / parts - 1;
  return static_cast<double>(((parts + bucket % parts) << shift) + ((std::uint64_t{1} << shift) >> 1));
}

}  // namespace

void Histogram::add(std::uint64_t ns) {
  ++counts_[std::min(bucket_of(ns), buckets - 1)];
  ++count_;
  most_ = std::max(most_, ns);
}

void Histogram::clear() {
  std::fill(counts_.begin(), counts_.end(), 0);
  count_ = 0;
  most_ = 0;
}

double Histogram::at(double part) const {
  if (count_ == 0) return 0;
  const auto rank = std::min(static_cast<std::uint64_t>(part * static_cast<double>(count_)), count_ - 1);
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < buckets; ++i) {
    seen += counts_[i];
    if (seen > rank) return std::min(value_of(i), static_cast<double>(most_)) / 1000;
  }
  return static_cast<double>(most_) / 1000;
}

void Figures::failed(const std::string& why) {
  if (errors++ == 0) first_error = why;
}

void Figures::begin() {
  warm_up_requests += requests;
  requests = 0;
  bytes = 0;
  latency.clear();
}

void Figures::print() const {
  std::printf(
      "{\"requests\":%llu,\"all_requests\":%llu,\"seconds\":%.6f,\"bytes\":%llu,\"errors\":%llu,\"error\":\"%"
      "s\","
      "\"p50_us\":%.2f,\"p99_us\":%.2f,\"p999_us\":%.2f}\n",
      static_cast<unsigned long long>(requests), static_cast<unsigned long long>(requests + warm_up_requests),
      seconds, static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(errors),
      first_error.c_str(), latency.at(.5), latency.at(.99), latency.at(.999));
  std::fflush(stdout);
}

}  // namespace heddle::bench
