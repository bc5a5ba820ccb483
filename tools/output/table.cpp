// SPDX-License-Identifier: Apache-2.0
#include "tools/output/table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace heddle::tools {
namespace {

// Columns on the terminal: bytes that do not continue a UTF-8 character.
std::size_t width(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

template <class... A>
std::string format(const char* pattern, A... arguments) {
  char out[64];
  std::snprintf(out, sizeof out, pattern, arguments...);
  return out;
}

}  // namespace

Table::Table(std::vector<std::string> header) : header_(std::move(header)) {
  for (auto& name : header_) {
    right_.push_back(name.starts_with('>'));
    if (right_.back()) name.erase(0, 1);
  }
}

void Table::add(std::vector<std::string> row) {
  row.resize(header_.size());
  rows_.push_back(std::move(row));
}

std::string Table::render() const {
  std::vector<std::size_t> widths;
  for (const auto& name : header_) widths.push_back(width(name));
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
  }
  std::string out;
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::string pad(widths[i] - width(cells[i]), ' ');
      text += (i ? "  " : "") + (right_[i] ? pad + cells[i] : cells[i] + pad);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  line(header_);
  for (const auto& row : rows_) line(row);
  return out;
}

std::string scaled(double value) {
  constexpr const char* units[] = {"", "K", "M", "G", "T"};
  std::size_t unit = 0;
  while (std::abs(value) >= 1000 && unit < 4) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0 && value == std::floor(value)) return format("%.0f", value);
  return format(value < 100 ? "%.1f%s" : "%.0f%s", value, units[unit]);
}

std::string duration_text(double milliseconds) {
  if (milliseconds < 1) return format("%.0f µs", milliseconds * 1000);
  if (milliseconds < 10) return format("%.1f ms", milliseconds);
  if (milliseconds < 1000) return format("%.0f ms", milliseconds);
  return format("%.2f s", milliseconds / 1000);
}

std::string age_text(double seconds) {
  const auto s = static_cast<long long>(std::max(0.0, seconds));
  if (s < 60) return format("%llds", s);
  if (s < 3600) return format("%lldm%02llds", s / 60, s % 60);
  if (s < 86400) return format("%lldh%02lldm", s / 3600, s / 60 % 60);
  return format("%lldd%02lldh", s / 86400, s / 3600 % 24);
}

}  // namespace heddle::tools
