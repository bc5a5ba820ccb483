// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Prometheus' text exposition format (version 0.0.4). Pure.
namespace heddle::agent {

class Histogram {
 public:
  // Seconds. From a tenth of a millisecond, an enrolment's parts, to the runtime's own deadline.
  static constexpr std::array<double, 14> bounds{0.0005, 0.001, 0.002, 0.004, 0.006, 0.01, 0.015,
                                                 0.025,  0.05,  0.1,   0.25,  1,     2.5,  10};
  void observe(std::chrono::microseconds value);
  const std::array<std::uint64_t, bounds.size() + 1>& counts() const { return counts_; }
  double sum_seconds() const { return sum_; }

 private:
  std::array<std::uint64_t, bounds.size() + 1> counts_{};  // not cumulative; the last is +Inf
  double sum_ = 0;
};

using MetricLabels = std::vector<std::pair<std::string_view, std::string>>;

class MetricsText {
 public:
  // Begins a family: # HELP and # TYPE. Its samples follow.
  void family(std::string_view name, std::string_view type, std::string_view help);
  void sample(const MetricLabels& labels, double value);
  void sample(const MetricLabels& labels, std::uint64_t value);
  void histogram(const Histogram& histogram);
  std::string take() { return std::move(text_); }

 private:
  void line(std::string_view suffix, const MetricLabels& labels, const std::string& value);
  std::string name_;
  std::string text_;
};

}  // namespace heddle::agent
