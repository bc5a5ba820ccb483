// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace heddle::tools {

using LabelMap = std::map<std::string, std::string, std::less<>>;

struct Sample {
  std::string name;
  LabelMap labels;
  double value = 0;

  // Empty when there is no such label.
  const std::string& label(std::string_view name) const;
};

// The Prometheus text format 0.0.4 (comments skipped, timestamps ignored). Errc::protocol names the line.
Result<std::vector<Sample>> parse_prometheus(std::string_view text);

// `after` minus `before` for samples of equal name and labels, taken as counters: one that fell (its process
// was restarted) counts from zero, one that is new counts whole.
std::vector<Sample> difference(const std::vector<Sample>& before, const std::vector<Sample>& after);

// Quantile (0..1) of a histogram given as cumulative buckets, upper bound -> count, by linear interpolation
// as Prometheus' histogram_quantile() does. NaN when it is empty; the highest finite bound when it lies
// beyond.
double histogram_quantile(double quantile, const std::map<double, double>& buckets);

// Upper bound of a bucket sample (its "le" label); +infinity for "+Inf".
double bucket_bound(const Sample& sample);

}  // namespace heddle::tools
