// SPDX-License-Identifier: Apache-2.0
#include "cni/json_text.h"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

namespace heddle::cni {
namespace {

// Walks over tokens; every step stays within the text.
class Cursor {
 public:
  Cursor(std::string_view text, std::size_t at) : text_(text), at_(at) {}

  std::size_t at() const { return at_; }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void step() {
    if (at_ < text_.size()) ++at_;
  }
  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }

  Span value() {
    const std::size_t begin = at_;
    std::size_t depth = 0;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') {
        string();
      } else if (c == '{' || c == '[') {
        ++depth;
        ++at_;
      } else if (c == '}' || c == ']') {
        if (depth == 0) break;  // of the container around this value
        --depth;
        ++at_;
      } else if (depth == 0) {
        if (!scalar()) break;
      } else {
        ++at_;
        continue;
      }
      if (depth == 0) break;
    }
    return {begin, at_};
  }

 private:
  static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

  void string() {
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\\') {
        ++at_;
      } else if (text_[at_] == '"') {
        ++at_;
        return;
      }
    }
    at_ = text_.size();
  }

  // A number or literal; false when there is none.
  bool scalar() {
    const std::size_t begin = at_;
    while (at_ < text_.size() && !is_space(text_[at_]) &&
           std::string_view(",:{}[]\"").find(text_[at_]) == std::string_view::npos) {
      ++at_;
    }
    return at_ > begin;
  }

  std::string_view text_;
  std::size_t at_;
};

bool same_key(std::string_view literal, std::string_view key) {
  if (literal.size() < 2) return false;
  if (literal.find('\\') == std::string_view::npos) return literal.substr(1, literal.size() - 2) == key;
  boost::system::error_code ec;
  const auto spelled = boost::json::parse({literal.data(), literal.size()}, ec);
  return !ec && spelled.is_string() && std::string_view(spelled.get_string()) == key;
}

}  // namespace

Span document(std::string_view text) {
  Cursor cursor(text, 0);
  cursor.skip_space();
  return cursor.value();
}

std::optional<Span> member(std::string_view text, Span object, std::string_view key) {
  Cursor cursor(text, object.begin);
  std::optional<Span> found;
  if (cursor.peek() != '{') return found;
  do {
    cursor.step();  // '{' or ','
    cursor.skip_space();
    if (cursor.peek() != '"') return found;
    const Span name = cursor.value();
    cursor.skip_space();
    if (cursor.peek() != ':') return found;
    cursor.step();
    cursor.skip_space();
    const Span value = cursor.value();
    if (same_key(name.of(text), key)) found = value;
    cursor.skip_space();
  } while (cursor.peek() == ',');
  return found;
}

std::vector<Span> elements(std::string_view text, Span array) {
  Cursor cursor(text, array.begin);
  std::vector<Span> out;
  if (cursor.peek() != '[') return out;
  do {
    cursor.step();  // '[' or ','
    cursor.skip_space();
    const Span value = cursor.value();
    if (value.begin == value.end) return out;
    out.push_back(value);
    cursor.skip_space();
  } while (cursor.peek() == ',');
  return out;
}

}  // namespace heddle::cni
