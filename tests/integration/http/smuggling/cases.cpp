// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/http/smuggling/cases.h"

#include <fstream>
#include <stdexcept>

namespace heddle::proxy::smuggling {
namespace {

char unescape(std::string_view text, std::size_t& at) {
  switch (const char c = text.at(at++)) {
    case 'r':
      return '\r';
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case '0':
      return '\0';
    case 's':
      return ' ';
    case '\\':
      return '\\';
    case 'x':
      at += 2;
      return static_cast<char>(std::stoi(std::string(text.substr(at - 2, 2)), nullptr, 16));
    default:
      throw std::runtime_error(std::string("unknown escape \\") + c);
  }
}

std::string macro(std::string_view name) {
  if (name == "G") return "GET /c HTTP/1.1\r\nHost: a\r\n";
  if (name == "P") return "POST /c HTTP/1.1\r\nHost: a\r\n";
  if (name == "C") return "GET /canary HTTP/1.1\r\nHost: a\r\n\r\n";
  if (name == "R") return "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
  const std::size_t star = name.rfind('*');
  if (star == std::string_view::npos) throw std::runtime_error("unknown macro " + std::string(name));
  const std::string once = expand(name.substr(0, star));
  std::string many;
  for (int i = std::stoi(std::string(name.substr(star + 1))); i > 0; --i) many += once;
  return many;
}

}  // namespace

std::string expand(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at++];
    if (c == '~') {
      out += "\r\n";
    } else if (c == '\\') {
      out += unescape(text, at);
    } else if (c == '{') {
      const std::size_t end = text.find('}', at);
      out += macro(text.substr(at, end - at));
      at = end + 1;
    } else {
      out += c;
    }
  }
  return out;
}

std::vector<std::string> split(std::string_view text, std::string_view separator, std::size_t most) {
  std::vector<std::string> parts;
  while (most == 0 || parts.size() + 1 < most) {
    const std::size_t at = text.find(separator);
    if (at == std::string_view::npos) break;
    parts.emplace_back(text.substr(0, at));
    text.remove_prefix(at + separator.size());
  }
  parts.emplace_back(text);
  return parts;
}

std::optional<std::string> Case::word(std::string_view prefix) const {
  const auto all = words(prefix);
  return all.empty() ? std::nullopt : std::optional(all.front());
}

std::vector<std::string> Case::words(std::string_view prefix) const {
  std::vector<std::string> found;
  for (const std::string& word : verdict) {
    if (word.starts_with(prefix)) found.push_back(expand(std::string_view(word).substr(prefix.size())));
  }
  return found;
}

std::vector<Case> read_cases(const std::string& path, std::size_t columns) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::vector<Case> cases;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    auto parts = split(line, " | ", columns);
    if (parts.size() != columns)
      throw std::runtime_error(path + ": not " + std::to_string(columns) + " columns: " + line);
    Case made{parts[0], parts[1], split(parts[2], " "), {}};
    made.columns.assign(parts.begin() + 3, parts.end());
    cases.push_back(std::move(made));
  }
  return cases;
}

}  // namespace heddle::proxy::smuggling
