// SPDX-License-Identifier: Apache-2.0
#include "tools/deploy/template.h"

#include <boost/json.hpp>
#include <optional>
#include <vector>

namespace heddle::tools {
namespace {

namespace json = boost::json;

constexpr int max_depth = 16;
constexpr std::string_view blanks = " \t";

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

bool is_true(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return false;
    case json::kind::bool_:
      return value.get_bool();
    case json::kind::int64:
      return value.get_int64() != 0;
    case json::kind::uint64:
      return value.get_uint64() != 0;
    case json::kind::double_:
      return value.get_double() != 0;
    case json::kind::string:
      return !value.get_string().empty();
    case json::kind::array:
      return !value.get_array().empty();
    case json::kind::object:
      return !value.get_object().empty();
  }
  return false;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const auto end = text.find('\n');
    out.push_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
}

// What a line that holds nothing but {{- WORDS }} says.
std::optional<std::string_view> control_words(std::string_view line) {
  line = trimmed(line);
  if (!line.starts_with("{{-") || !line.ends_with("}}") || line.find("}}") != line.size() - 2) return {};
  return trimmed(line.substr(3, line.size() - 5));
}

class Filler {
 public:
  Filler(std::string_view text, const json::object& values, const std::string& origin)
      : lines_(split_lines(text)), values_(values), origin_(origin) {}

  Result<std::string> fill() {
    if (auto done = block(0, lines_.size(), nullptr, 0); !done) return done.error();
    return std::move(out_);
  }

 private:
  Error fail(std::size_t line, const std::string& what) const {
    return make_error(Errc::invalid_argument, origin_ + ":" + std::to_string(line + 1) + ": " + what);
  }

  Result<const json::value*> look_up(std::string_view path, const json::value* item, std::size_t line) const {
    if (path == "." && item != nullptr) return item;
    constexpr std::string_view root = ".Values.";
    if (!path.starts_with(root)) return fail(line, "cannot evaluate '" + std::string(path) + "'");
    std::string_view rest = path.substr(root.size());
    const json::object* folder = &values_;
    for (;;) {
      const auto dot = rest.find('.');
      const json::value* found = folder->if_contains(rest.substr(0, dot));
      if (found == nullptr) return fail(line, "there is no value " + std::string(path));
      if (dot == std::string_view::npos) return found;
      folder = found->if_object();
      if (folder == nullptr) return fail(line, "there is no value " + std::string(path));
      rest.remove_prefix(dot + 1);
    }
  }

  Result<std::string> evaluate(std::string_view words, const json::value* item, std::size_t line) const {
    constexpr std::string_view to_json = "toJson ";
    const bool as_json = words.starts_with(to_json);
    if (as_json) words = trimmed(words.substr(to_json.size()));
    const auto value = look_up(words, item, line);
    if (!value) return value.error();
    if (as_json) return json::serialize(**value);
    if ((*value)->is_string()) return std::string((*value)->get_string());
    if ((*value)->is_structured() || (*value)->is_null())
      return fail(line, std::string(words) + " is no plain value; use toJson");
    return json::serialize(**value);
  }

  Result<> plain_line(std::size_t line, const json::value* item) {
    std::string_view rest = lines_[line];
    for (;;) {
      const auto begin = rest.find("{{");
      out_ += rest.substr(0, begin);
      if (begin == std::string_view::npos) break;
      const auto end = rest.find("}}", begin);
      if (end == std::string_view::npos) return fail(line, "'{{' without '}}'");
      auto text = evaluate(trimmed(rest.substr(begin + 2, end - begin - 2)), item, line);
      if (!text) return text.error();
      out_ += *text;
      rest.remove_prefix(end + 2);
    }
    out_ += '\n';
    return {};
  }

  struct Extent {
    std::size_t otherwise;  // line of {{- else }}, or of the end
    std::size_t end;
  };

  // Of the block that begins at `line`.
  Result<Extent> extent(std::size_t line, std::size_t limit) const {
    int open = 0;
    std::optional<std::size_t> otherwise;
    for (std::size_t i = line; i < limit; ++i) {
      const auto words = control_words(lines_[i]);
      if (!words) continue;
      if (words->starts_with("if ") || words->starts_with("range ")) ++open;
      if (*words == "else" && open == 1) otherwise = i;
      if (*words == "end" && --open == 0) return Extent{otherwise.value_or(i), i};
    }
    return fail(line, "a block without {{- end }}");
  }

  Result<> each(const json::value& list, std::size_t from, std::size_t to, std::size_t line, int depth) {
    if (!list.is_array()) return fail(line, "range needs a list");
    for (const auto& item : list.get_array()) {
      if (auto done = block(from, to, &item, depth + 1); !done) return done;
    }
    return {};
  }

  Result<> block(std::size_t from, std::size_t to, const json::value* item, int depth) {
    if (depth > max_depth) return fail(from, "nested more than 16 deep");
    for (std::size_t line = from; line < to; ++line) {
      const auto words = control_words(lines_[line]);
      if (!words) {
        if (auto done = plain_line(line, item); !done) return done;
        continue;
      }
      const bool range = words->starts_with("range ");
      if (!range && !words->starts_with("if ")) return fail(line, "unexpected '" + std::string(*words) + "'");
      const auto where = extent(line, to);
      if (!where) return where.error();
      const auto value = look_up(trimmed(words->substr(words->find(' '))), item, line);
      if (!value) return value.error();
      Result<> done;
      if (range) {
        done = each(**value, line + 1, where->end, line, depth);
      } else if (is_true(**value)) {
        done = block(line + 1, where->otherwise, item, depth + 1);
      } else if (where->otherwise != where->end) {
        done = block(where->otherwise + 1, where->end, item, depth + 1);
      }
      if (!done) return done;
      line = where->end;
    }
    return {};
  }

  std::vector<std::string_view> lines_;
  const json::object& values_;
  const std::string& origin_;
  std::string out_;
};

}  // namespace

Result<std::string> fill_template(std::string_view text, const json::object& values,
                                  const std::string& origin) {
  return Filler(text, values, origin).fill();
}

}  // namespace heddle::tools
