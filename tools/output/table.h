// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

namespace heddle::tools {

// Text columns for people: left-aligned, two spaces apart, no trailing blanks. Numbers can be right-aligned.
class Table {
 public:
  // A header that begins with '>' makes its column right-aligned (the '>' is not shown).
  explicit Table(std::vector<std::string> header);
  // Missing cells are empty, surplus ones are dropped.
  void add(std::vector<std::string> row);
  bool empty() const { return rows_.empty(); }
  std::string render() const;

 private:
  std::vector<std::string> header_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
};

// "1.5K", "23.4M": bytes or counts, at most four characters before the unit.
std::string scaled(double value);
// "87 µs", "3.4 ms", "1.20 s" from milliseconds.
std::string duration_text(double milliseconds);
// "3m12s", "5h04m", "2d03h".
std::string age_text(double seconds);

}  // namespace heddle::tools
