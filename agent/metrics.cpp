// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics.h"

#include <cstdio>

namespace heddle::agent {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out.push_back('\\');
    if (c == '\n') {
      out += "\\n";
    } else {
      out.push_back(c);
    }
  }
  return out;
}

std::string number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.12g", value);
  return text;
}

}  // namespace

void Histogram::observe(std::chrono::microseconds value) {
  const double seconds = std::chrono::duration<double>(value).count();
  const auto bucket = std::lower_bound(bounds.begin(), bounds.end(), seconds) - bounds.begin();
  ++counts_[static_cast<std::size_t>(bucket)];
  sum_ += seconds;
}

void MetricsText::family(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  text_.append("# HELP ").append(name).append(" ").append(help).append("\n");
  text_.append("# TYPE ").append(name).append(" ").append(type).append("\n");
}

void MetricsText::line(std::string_view suffix, const MetricLabels& labels, const std::string& value) {
  text_.append(name_).append(suffix);
  char open = '{';
  for (const auto& [key, text] : labels) {
    text_.push_back(open);
    text_.append(key).append("=\"").append(escaped(text)).append("\"");
    open = ',';
  }
  if (!labels.empty()) text_.push_back('}');
  text_.append(" ").append(value).append("\n");
}

void MetricsText::sample(const MetricLabels& labels, double value) {
  line("", labels, number(value));
}
void MetricsText::sample(const MetricLabels& labels, std::uint64_t value) {
  line("", labels, std::to_string(value));
}

void MetricsText::histogram(const Histogram& histogram) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < Histogram::bounds.size(); ++i) {
    sum += histogram.counts()[i];
    line("_bucket", {{"le", number(Histogram::bounds[i])}}, std::to_string(sum));
  }
  sum += histogram.counts().back();
  line("_bucket", {{"le", "+Inf"}}, std::to_string(sum));
  line("_sum", {}, number(histogram.sum_seconds()));
  line("_count", {}, std::to_string(sum));
}

}  // namespace heddle::agent
