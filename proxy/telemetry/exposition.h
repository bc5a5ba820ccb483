// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proxy/telemetry/registry.h"

namespace heddle::proxy {

// A snapshot of all series with equal label sets added up, ready to be written. Pure.
class Exposition {
 public:
  enum class Type : std::uint8_t { counter, gauge, histogram };

  // `name` as Prometheus shows it: counters end in _total.
  void add(std::string_view name, std::string_view help, Type type, const Labels& labels,
           std::uint64_t value);
  void add(std::string_view name, std::string_view help, const Labels& labels, const Histogram& histogram);

  // Prometheus text format 0.0.4, or OpenMetrics 1.0.0 (without the final "# EOF", as collectors may follow).
  std::string write(MetricsRegistry::Format format) const;

 private:
  struct Distribution {
    std::vector<double> bounds;
    std::vector<std::uint64_t> buckets;
    double sum = 0;
  };
  struct Family {
    std::string help;
    Type type = Type::counter;
    std::map<Labels, std::uint64_t> values;
    std::map<Labels, Distribution> distributions;
  };
  Family& family(std::string_view name, std::string_view help, Type type);
  std::map<std::string, Family, std::less<>> families_;
};

// Joins two rendered label lists.
Labels join_labels(std::string_view a, std::string_view b);

// The same without repetitions of a label's name (the first value stays): Prometheus refuses a whole scrape
// for one.
Labels unique_labels(const Labels& labels);

// process_* of this process (start time, CPU, memory, descriptors, threads) as complete families.
std::string process_metrics(MetricsRegistry::Format format);

}  // namespace heddle::proxy
