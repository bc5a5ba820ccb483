// SPDX-License-Identifier: Apache-2.0
#include "proxy/telemetry/exposition.h"

#include <algorithm>
#include <charconv>

namespace heddle::proxy {
namespace {

constexpr std::string_view total = "_total";

std::string_view without_total(std::string_view name) {
  if (name.ends_with(total)) name.remove_suffix(total.size());
  return name;
}

void append(std::string& out, double value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  out.append(text, static_cast<std::size_t>(end - text));
}

void append(std::string& out, std::uint64_t value) {
  char text[24];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  out.append(text, static_cast<std::size_t>(end - text));
}

template <class Number>
void line(std::string& out, std::string_view name, std::string_view suffix, std::string_view labels,
          Number value) {
  out.append(name).append(suffix);
  if (!labels.empty()) out.append("{").append(labels).append("}");
  out.push_back(' ');
  append(out, value);
  out.push_back('\n');
}

const char* type_name(Exposition::Type type) {
  switch (type) {
    case Exposition::Type::counter:
      return "counter";
    case Exposition::Type::gauge:
      return "gauge";
    case Exposition::Type::histogram:
      return "histogram";
  }
  return "untyped";
}

}  // namespace

Labels join_labels(std::string_view a, std::string_view b) {
  Labels out(a);
  if (!a.empty() && !b.empty()) out.push_back(',');
  out.append(b);
  return out;
}

Labels unique_labels(const Labels& labels) {
  Labels out;
  std::vector<std::string_view> names;
  std::string_view rest = labels;
  while (!rest.empty()) {
    const auto equals = rest.find("=\"");
    if (equals == std::string_view::npos) break;
    auto end = equals + 2;
    while (end < rest.size() && rest[end] != '"') end += rest[end] == '\\' ? 2 : 1;
    if (end >= rest.size()) break;
    const auto name = rest.substr(0, equals);
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(name);
      out = join_labels(out, rest.substr(0, end + 1));
    }
    rest.remove_prefix(end + 1);
    if (rest.starts_with(",")) rest.remove_prefix(1);
  }
  return out;
}

Exposition::Family& Exposition::family(std::string_view name, std::string_view help, Type type) {
  const auto it = families_.find(name);
  if (it != families_.end()) return it->second;
  return families_.emplace(std::string(name), Family{std::string(help), type, {}, {}}).first->second;
}

void Exposition::add(std::string_view name, std::string_view help, Type type, const Labels& labels,
                     std::uint64_t value) {
  family(name, help, type).values[labels] += value;
}

void Exposition::add(std::string_view name, std::string_view help, const Labels& labels,
                     const Histogram& histogram) {
  auto& sum = family(name, help, Type::histogram).distributions[labels];
  if (sum.buckets.empty()) {
    sum.bounds = histogram.bounds();
    sum.buckets.resize(sum.bounds.size() + 1);
  }
  // Two callers that disagree on a family's bounds is a bug; their samples still count, in the bucket of
  // +Inf.
  const bool same = sum.bounds == histogram.bounds();
  for (std::size_t i = 0; i <= histogram.bounds().size(); ++i) {
    sum.buckets[same ? i : sum.bounds.size()] += histogram.bucket(i);
  }
  sum.sum += histogram.sum();
}

std::string Exposition::write(MetricsRegistry::Format format) const {
  std::string out;
  for (const auto& [name, family] : families_) {
    // OpenMetrics names a counter's family without the suffix that its samples have.
    const bool bare = format == MetricsRegistry::Format::open_metrics && family.type == Type::counter;
    const std::string_view shown = bare ? without_total(name) : std::string_view(name);
    out.append("# HELP ").append(shown).append(" ").append(family.help).append("\n");
    out.append("# TYPE ").append(shown).append(" ").append(type_name(family.type)).append("\n");
    for (const auto& [labels, value] : family.values) line(out, name, "", labels, value);
    for (const auto& [labels, d] : family.distributions) {
      std::uint64_t cumulative = 0;
      for (std::size_t i = 0; i < d.buckets.size(); ++i) {
        cumulative += d.buckets[i];
        std::string le = "le=\"";
        if (i < d.bounds.size()) {
          append(le, d.bounds[i]);
        } else {
          le.append("+Inf");
        }
        le.push_back('"');
        line(out, name, "_bucket", join_labels(labels, le), cumulative);
      }
      line(out, name, "_sum", labels, d.sum);
      line(out, name, "_count", labels, cumulative);
    }
  }
  return out;
}

}  // namespace heddle::proxy
