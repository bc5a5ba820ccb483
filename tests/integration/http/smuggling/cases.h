// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::proxy::smuggling {

// One line of a corpus file; the files' beginnings say what may stand there.
struct Case {
  std::string name, rule;
  std::vector<std::string> verdict;  // its words
  std::vector<std::string> columns;  // what follows the verdict, not yet expanded
  // The rest of the verdict's word that begins with `prefix`, expanded.
  std::optional<std::string> word(std::string_view prefix) const;
  std::vector<std::string> words(std::string_view prefix) const;
};

// `columns`: how many there are in a line, the last of which may have anything in it.
std::vector<Case> read_cases(const std::string& path, std::size_t columns);

// Escapes, ~ and {...} become bytes.
std::string expand(std::string_view text);

std::vector<std::string> split(std::string_view text, std::string_view separator, std::size_t most = 0);

}  // namespace heddle::proxy::smuggling
