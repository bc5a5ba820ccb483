// SPDX-License-Identifier: Apache-2.0
#include "tools/diagnostics/scrub.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace heddle::tools {
namespace {

namespace json = boost::json;
using std::string_view;

constexpr std::array credentials{string_view("password"),   string_view("passwd"),
                                 string_view("passphrase"), string_view("secret"),
                                 string_view("token"),      string_view("credential"),
                                 string_view("apikey"),     string_view("privatekey"),
                                 string_view("accesskey"),  string_view("authorization")};
// What is said about a credential rather than the credential.
constexpr std::array about{string_view("file"),     string_view("path"),      string_view("dir"),
                           string_view("audience"), string_view("namespace"), string_view("name"),
                           string_view("kind"),     string_view("type"),      string_view("total"),
                           string_view("count"),    string_view("seconds")};

bool is_word(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
}

bool is_base64(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '+' || c == '/' || c == '=';
}

// Lower-case, without what separates its words.
std::string plain(string_view key) {
  std::string out;
  for (const char c : key) {
    if (c != '_' && c != '-' && c != '.')
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return out;
}

// A line of nothing but base64: the inside of a key whose beginning may not be there.
bool is_armour(string_view line) {
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
  while (!line.empty() && line.front() == ' ') line.remove_prefix(1);
  return line.size() >= 40 && line.size() % 4 == 0 && std::ranges::all_of(line, is_base64);
}

bool ends_value(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0 || c == ',' || c == ';' || c == '}' || c == ']' ||
         c == ')' || c == '"' || c == '\'' || c == '&';
}

// One line, read once from left to right.
class Line {
 public:
  explicit Line(string_view text) : text_(text) {}

  std::string scrubbed() {
    while (at_ < text_.size()) {
      if (word_begins() && (token() || scheme() || named())) continue;
      if (user() || query()) continue;
      take(1);
    }
    return std::move(out_);
  }

 private:
  bool word_begins() const { return is_word(text_[at_]) && (at_ == 0 || !is_word(text_[at_ - 1])); }
  string_view rest() const { return text_.substr(at_); }
  void take(std::size_t count) {
    out_ += text_.substr(at_, count);
    at_ += count;
  }
  void hide(std::size_t count) {
    out_ += redacted;
    at_ += count;
  }
  std::size_t run_of(string_view text, bool (*belongs)(char)) const {
    return static_cast<std::size_t>(std::ranges::find_if_not(text, belongs) - text.begin());
  }

  // A JSON web token: header.claims.signature, the header beginning with `{"`.
  bool token() {
    if (!rest().starts_with("eyJ")) return false;
    const auto length = run_of(rest(), [](char c) { return is_word(c) || c == '.' || c == '='; });
    if (rest().substr(0, length).find('.') == string_view::npos && length < 40) return false;
    hide(length);
    return true;
  }

  // "Bearer abc", "Basic abc".
  bool scheme() {
    for (const string_view name : {string_view("bearer "), string_view("basic ")}) {
      const auto found = rest().substr(0, name.size());
      if (!std::ranges::equal(
              found, name, [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; }))
        continue;
      const auto value = rest().substr(name.size());
      const auto length = run_of(value, [](char c) { return !ends_value(c); });
      // "basic checks" is no credential, "Basic dXNlcjpwYXNz" is.
      const bool prose =
          length < 8 || std::ranges::all_of(
                            value.substr(0, length),
                            [](char c) { return std::islower(static_cast<unsigned char>(c)) != 0; });
      if (name == "basic " && prose) return false;
      if (length == 0) return false;
      take(name.size());
      hide(length);
      return true;
    }
    return false;
  }

  // KEY=VALUE, KEY: VALUE, "KEY": "VALUE", --KEY VALUE.
  bool named() {
    const auto length = run_of(rest(), [](char c) { return is_word(c) || c == '.'; });
    const auto key = rest().substr(0, length);
    const bool flag = key.starts_with("--");
    if (!names_credential(key)) {
      take(length);
      return true;
    }
    auto after = rest().substr(length);
    std::size_t gap = 0;
    while (gap < after.size() &&
           (after[gap] == '"' || after[gap] == '\'' || after[gap] == '\\' || after[gap] == ' '))
      ++gap;
    const bool assigned = gap < after.size() && (after[gap] == '=' || after[gap] == ':');
    if (!assigned && !(flag && after.starts_with(" "))) {
      take(length);
      return true;
    }
    const bool sentence = assigned && after[gap] == ':' && gap == 0;
    if (assigned) ++gap;
    while (gap < after.size() && (after[gap] == ' ' || after[gap] == '\\')) ++gap;
    take(length + gap);
    value(key, sentence);
    return true;
  }

  void value(string_view key, bool sentence) {
    if (at_ >= text_.size()) return;
    if (const char quote = text_[at_]; quote == '"' || quote == '\'') {
      std::size_t end = at_ + 1;
      while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
      end = std::min(end, text_.size());
      take(1);
      return hide(end - at_);
    }
    const auto first = run_of(rest(), [](char c) { return !ends_value(c); });
    if (sentence && text_[at_ - 1] == ' ') {
      // "token: No such file or directory" is worth more than what it could give away.
      const bool prose =
          plain(key).ends_with("token") && std::ranges::all_of(rest().substr(0, first), [](char c) {
            return std::isalpha(static_cast<unsigned char>(c)) != 0;
          });
      return prose ? take(first) : hide(rest().size());
    }
    if (first > 0) hide(first);
  }

  // "://user:password@host".
  bool user() {
    if (!rest().starts_with("://")) return false;
    const auto authority =
        rest().substr(3, run_of(rest().substr(3), [](char c) { return !ends_value(c) && c != '/'; }));
    const auto end = authority.rfind('@');
    take(3);
    if (end != string_view::npos) hide(end);
    return true;
  }

  // "/path?a=1&b=2": names stay, values go.
  bool query() {
    if (text_[at_] != '?' || at_ == 0 || ends_value(text_[at_ - 1])) return false;
    const auto length = run_of(rest(), [](char c) { return !ends_value(c) || c == '&'; });
    const auto whole = rest().substr(0, length);
    bool inside = false;
    for (const char c : whole) {
      if (c == '&') inside = false;
      if (!inside) out_ += c;
      if (c == '=' && !inside) {
        inside = true;
        out_ += redacted;
      }
    }
    at_ += length;
    return true;
  }

  string_view text_;
  std::size_t at_ = 0;
  std::string out_;
};

}  // namespace

bool names_credential(string_view key) {
  const auto name = plain(key);
  if (name == "cookie" || name == "setcookie" || name == "pwd") return true;
  if (std::ranges::any_of(about, [&](string_view word) { return name.ends_with(word); })) return false;
  return std::ranges::any_of(credentials,
                             [&](string_view word) { return name.find(word) != std::string::npos; });
}

std::string scrub_text(string_view text) {
  enum class Inside { prose, key, certificate };
  std::string out;
  out.reserve(text.size());
  Inside inside = Inside::prose;
  for (bool last = false; !last;) {
    const auto end = text.find('\n');
    last = end == string_view::npos;
    const auto line = text.substr(0, end);
    text.remove_prefix(last ? text.size() : end + 1);
    const auto begin = line.find("-----BEGIN ");
    const bool ends = line.find("-----END ") != string_view::npos;
    if (inside == Inside::key) {
      if (ends) inside = Inside::prose;
      continue;
    }
    if (begin != string_view::npos && line.find("PRIVATE KEY") != string_view::npos) {
      out += Line(line.substr(0, begin)).scrubbed();
      out += redacted;
      if (!ends) inside = Inside::key;
    } else if (inside == Inside::certificate) {
      out += line;  // public
      if (ends) inside = Inside::prose;
    } else {
      if (line.find("-----BEGIN CERTIFICATE-----") != string_view::npos && !ends)
        inside = Inside::certificate;
      out += is_armour(line) ? std::string(redacted) : Line(line).scrubbed();
    }
    if (!last) out += '\n';
  }
  return out;
}

void scrub_json(json::value& value) {
  if (auto* text = value.if_string()) {
    const auto scrubbed = scrub_text(string_view(*text));
    if (scrubbed != string_view(*text)) *text = scrubbed;
  } else if (auto* array = value.if_array()) {
    for (auto& member : *array) scrub_json(member);
  } else if (auto* object = value.if_object()) {
    for (auto& [key, member] : *object) {
      if (member.is_string() && !member.get_string().empty() && names_credential(key)) {
        member = json::string(redacted);
      } else {
        scrub_json(member);
      }
    }
  }
}

}  // namespace heddle::tools
