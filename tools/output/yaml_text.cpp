// SPDX-License-Identifier: Apache-2.0
#include "tools/output/yaml_text.h"

#include <algorithm>
#include <array>
#include <boost/json.hpp>

#include "tools/output/json.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

// What YAML 1.1 takes for a boolean or null in any spelling of the letters.
bool is_word_of_yaml(std::string_view text) {
  constexpr std::array<std::string_view, 9> words{"true", "false", "null", "yes", "no",
                                                  "on",   "off",   "y",    "n"};
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::ranges::find(words, lower) != words.end();
}

bool is_plain(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (text.empty() || !letter(text.front()) || is_word_of_yaml(text)) return false;
  return std::ranges::all_of(text, [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' || c == '/';
  });
}

// A JSON string is a double-quoted scalar of YAML.
std::string scalar(std::string_view text) {
  return is_plain(text) ? std::string(text) : json::serialize(json::string(text));
}

bool is_block(const json::value& value) {
  return (value.is_object() && !value.get_object().empty()) ||
         (value.is_array() && !value.get_array().empty());
}

std::string inline_text(const json::value& value) {
  if (value.is_string()) return scalar(value.get_string());
  return json_text(value);
}

void write(std::string& out, const json::value& value, std::size_t indent);

void write_object(std::string& out, const json::object& object, std::size_t indent, bool first_on_line) {
  for (const auto& [key, member] : object) {
    if (!first_on_line) out.append(indent, ' ');
    first_on_line = false;
    out += scalar(key) + ":";
    if (!is_block(member)) {
      out += " " + inline_text(member) + "\n";
      continue;
    }
    out += "\n";
    write(out, member, member.is_array() ? indent : indent + 2);
  }
}

void write(std::string& out, const json::value& value, std::size_t indent) {
  if (const auto* object = value.if_object()) return write_object(out, *object, indent, false);
  for (const auto& member : value.as_array()) {
    out.append(indent, ' ');
    if (const auto* object = member.if_object(); object && !object->empty()) {
      out += "- ";
      write_object(out, *object, indent + 2, true);
    } else if (is_block(member)) {
      out += "-\n";
      write(out, member, indent + 2);
    } else {
      out += "- " + inline_text(member) + "\n";
    }
  }
}

}  // namespace

std::string yaml_text(const json::value& value) {
  if (!is_block(value)) return inline_text(value) + "\n";
  std::string out;
  write(out, value, 0);
  return out;
}

}  // namespace heddle::tools
