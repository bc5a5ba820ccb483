// SPDX-License-Identifier: Apache-2.0
#include "tools/metrics/prometheus.h"

#include <cmath>
#include <cstdlib>
#include <limits>

namespace heddle::tools {
namespace {

constexpr std::size_t max_line = 64 * 1024;

bool name_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == ':' || c == '.';
}

class LineParser {
 public:
  explicit LineParser(std::string_view line) : line_(line) {}

  bool parse(Sample& out) {
    out.name = name();
    if (out.name.empty()) return false;
    if (at_ < line_.size() && line_[at_] == '{' && !labels(out.labels)) return false;
    while (at_ < line_.size() && line_[at_] == ' ') ++at_;
    const std::string number(line_.substr(at_, line_.find(' ', at_) - at_));
    char* end = nullptr;
    out.value = std::strtod(number.c_str(), &end);
    return !number.empty() && *end == '\0';
  }

 private:
  std::string name() {
    const auto begin = at_;
    while (at_ < line_.size() && name_character(line_[at_])) ++at_;
    return std::string(line_.substr(begin, at_ - begin));
  }

  bool labels(LabelMap& out) {
    ++at_;
    while (at_ < line_.size() && line_[at_] != '}') {
      auto label = name();
      if (label.empty() || line_.substr(at_, 2) != "=\"") return false;
      at_ += 2;
      std::string value;
      for (; at_ < line_.size() && line_[at_] != '"'; ++at_) {
        if (line_[at_] == '\\' && at_ + 1 < line_.size()) {
          ++at_;
          value += line_[at_] == 'n' ? '\n' : line_[at_];
        } else {
          value += line_[at_];
        }
      }
      if (at_ == line_.size()) return false;
      ++at_;
      out.insert_or_assign(std::move(label), std::move(value));
      if (at_ < line_.size() && line_[at_] == ',') ++at_;
    }
    if (at_ == line_.size()) return false;
    ++at_;
    return true;
  }

  std::string_view line_;
  std::size_t at_ = 0;
};

}  // namespace

const std::string& Sample::label(std::string_view wanted) const {
  static const std::string none;
  const auto found = labels.find(wanted);
  return found == labels.end() ? none : found->second;
}

Result<std::vector<Sample>> parse_prometheus(std::string_view text) {
  std::vector<Sample> out;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty() || line.front() == '#') continue;
    Sample sample;
    if (line.size() > max_line || !LineParser(line).parse(sample)) {
      return make_error(Errc::protocol,
                        "metrics, line " + std::to_string(number) +
                            ": not in the Prometheus text format: " + std::string(line.substr(0, 80)));
    }
    out.push_back(std::move(sample));
  }
  return out;
}

std::vector<Sample> difference(const std::vector<Sample>& before, const std::vector<Sample>& after) {
  std::map<std::pair<std::string, LabelMap>, double> old;
  for (const auto& sample : before) old[{sample.name, sample.labels}] = sample.value;
  std::vector<Sample> out = after;
  for (auto& sample : out) {
    const auto found = old.find({sample.name, sample.labels});
    if (found != old.end() && found->second <= sample.value) sample.value -= found->second;
  }
  return out;
}

double bucket_bound(const Sample& sample) {
  const auto& le = sample.label("le");
  return le == "+Inf" ? std::numeric_limits<double>::infinity() : std::strtod(le.c_str(), nullptr);
}

double histogram_quantile(double quantile, const std::map<double, double>& buckets) {
  if (buckets.empty() || buckets.rbegin()->second <= 0) return std::numeric_limits<double>::quiet_NaN();
  const double rank = quantile * buckets.rbegin()->second;
  double lower = 0;
  double below = 0;
  for (const auto& [bound, count] : buckets) {
    if (count >= rank) {
      if (std::isinf(bound)) return lower;
      return count > below ? lower + (bound - lower) * (rank - below) / (count - below) : bound;
    }
    lower = bound;
    below = count;
  }
  return lower;
}

}  // namespace heddle::tools
