// SPDX-License-Identifier: Apache-2.0
#include <charconv>

#include "tools/output/jsonpath_parts.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using std::string_view;
using Kind = PathStep::Kind;
using Compare = PathStep::Compare;
using Parts = std::vector<JsonPath::Part>;

constexpr std::size_t longest = 64 * 1024;
constexpr int deepest = 16;

class Parser {
 public:
  explicit Parser(string_view text) : text_(text) {}

  Result<Parts> all() {
    auto out = parts(0);
    if (out && at_ < text_.size()) return wrong("{end} without {range}");
    return out;
  }

 private:
  Error wrong(const std::string& what) const {
    return make_error(Errc::invalid_argument, "jsonpath, at byte " + std::to_string(at_ + 1) + ": " + what);
  }
  bool over() const { return at_ >= text_.size(); }
  char now() const { return over() ? '\0' : text_[at_]; }
  string_view rest() const { return text_.substr(at_); }
  void blanks() {
    while (now() == ' ' || now() == '\t' || now() == '\n') ++at_;
  }
  bool take(string_view word) {
    if (!rest().starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  // Until the end of the text, or an {end} that is left for who began the range. A range may lack its end.
  Result<Parts> parts(int depth) {
    Parts out;
    while (!over()) {
      if (now() != '{') {
        const auto length = std::min(rest().find('{'), rest().size());
        out.push_back({JsonPath::Part::Kind::text, std::string(rest().substr(0, length)), {}, {}});
        at_ += length;
        continue;
      }
      const auto begin = at_++;
      blanks();
      if (take("end")) {
        at_ = begin;
        return out;
      }
      auto part = inside(depth);
      if (!part) return part.error();
      out.push_back(std::move(*part));
    }
    return out;
  }

  Result<JsonPath::Part> inside(int depth) {
    if (now() == '"' || now() == '\'') {
      auto text = quoted();
      if (!text) return text.error();
      if (auto closed = close(); !closed) return closed.error();
      return JsonPath::Part{JsonPath::Part::Kind::text, std::move(*text), {}, {}};
    }
    const bool range = take("range ") || take("range\t");
    blanks();
    auto path = this->path(false, depth);
    if (!path) return path.error();
    if (auto closed = close(); !closed) return closed.error();
    if (!range) return JsonPath::Part{JsonPath::Part::Kind::path, {}, std::move(*path), {}};
    if (depth >= deepest) return wrong("too many ranges inside of each other");
    auto body = parts(depth + 1);
    if (!body) return body.error();
    if (take("{")) {
      blanks();
      take("end");
      if (auto closed = close(); !closed) return closed.error();
    }
    return JsonPath::Part{JsonPath::Part::Kind::range, {}, std::move(*path), std::move(*body)};
  }

  Result<> close() {
    blanks();
    return take("}") ? Result<>() : Result<>(wrong("expected }"));
  }

  Result<std::string> quoted() {
    const char quote = text_[at_++];
    std::string out;
    while (!over() && now() != quote) {
      if (now() != '\\') {
        out += text_[at_++];
        continue;
      }
      ++at_;
      const char escaped = now();
      if (over()) break;
      ++at_;
      out += escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped == 'r' ? '\r' : escaped;
    }
    if (over()) return wrong("a quote without its end");
    ++at_;
    return out;
  }

  static bool ends_name(char c, bool in_filter) {
    constexpr string_view always = " \t\n.,[]{}$@'\"";
    constexpr string_view filter = "=!<>()";
    return always.find(c) != string_view::npos || (in_filter && filter.find(c) != string_view::npos);
  }

  Result<Path> path(bool in_filter, int depth) {
    Path out;
    if (!take("$")) take("@");  // both are the item that is looked at, as in kubectl
    while (!over()) {
      if (take("..")) {
        out.emplace_back().kind = Kind::recursive;
        if (now() == '[') continue;
        if (auto ok = name(out, in_filter); !ok) return ok.error();
      } else if (take(".")) {
        if (now() == '[' || now() == '}') continue;
        if (auto ok = name(out, in_filter); !ok) return ok.error();
      } else if (now() == '[') {
        if (auto ok = bracket(out, depth); !ok) return ok.error();
      } else {
        break;
      }
    }
    return out;
  }

  Result<> name(Path& out, bool in_filter) {
    if (take("*")) {
      out.emplace_back().kind = Kind::any;
      return {};
    }
    std::string text;
    while (!over() && !ends_name(now(), in_filter)) {
      if (now() == '\\' && at_ + 1 < text_.size()) ++at_;
      text += text_[at_++];
    }
    if (text.empty()) return wrong("expected a name");
    out.emplace_back().fields = {{text}};
    return {};
  }

  Result<> bracket(Path& out, int depth) {
    ++at_;
    blanks();
    if (take("?(")) return filter(out, depth);
    if (take("*")) {
      out.emplace_back().kind = Kind::any;
    } else if (now() == '\'' || now() == '"') {
      if (auto ok = names(out); !ok) return ok.error();
    } else if (auto ok = numbers(out); !ok) {
      return ok.error();
    }
    blanks();
    return take("]") ? Result<>() : Result<>(wrong("expected ]"));
  }

  // 'a', 'b.c': each a way down, with dots that are not escaped between its names.
  Result<> names(Path& out) {
    auto& step = out.emplace_back();
    do {
      blanks();
      if (now() != '\'' && now() != '"') return wrong("expected a quoted name");
      const char quote = text_[at_++];
      auto& way = step.fields.emplace_back(1);
      while (!over() && now() != quote) {
        if (now() == '\\' && at_ + 1 < text_.size()) {
          ++at_;
          way.back() += text_[at_++];
        } else if (now() == '.') {
          ++at_;
          way.emplace_back();
        } else {
          way.back() += text_[at_++];
        }
      }
      if (over()) return wrong("a quote without its end");
      ++at_;
      blanks();
    } while (take(","));
    return {};
  }

  Result<std::optional<long>> number() {
    blanks();
    long value = 0;
    const auto parsed = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (parsed.ec == std::errc::invalid_argument) return std::optional<long>();
    if (parsed.ec != std::errc() || value < -1'000'000'000 || value > 1'000'000'000)
      return wrong("a number that is too large");
    at_ = static_cast<std::size_t>(parsed.ptr - text_.data());
    blanks();
    return std::optional(value);
  }

  Result<> numbers(Path& out) {
    auto first = number();
    if (!first) return first.error();
    auto& step = out.emplace_back();
    if (!take(":")) {
      if (!*first) return wrong("expected an index, a name in quotes, * or ?(");
      step.kind = Kind::index;
      step.index = **first;
      return {};
    }
    step.kind = Kind::slice;
    step.begin = *first;
    auto end = number();
    if (!end) return end.error();
    step.end = *end;
    if (!take(":")) return {};
    auto stride = number();
    if (!stride) return stride.error();
    step.stride = stride->value_or(1);
    return step.stride > 0 ? Result<>() : Result<>(wrong("a slice's step is at least 1"));
  }

  Result<> filter(Path& out, int depth) {
    if (depth >= deepest) return wrong("too many filters inside of each other");
    PathStep step;
    step.kind = Kind::filter;
    blanks();
    auto left = operand(depth);
    if (!left) return left.error();
    step.left = std::move(*left);
    blanks();
    if (!take(")")) {
      constexpr std::pair<string_view, Compare> operators[] = {
          {"==", Compare::equal},         {"!=", Compare::unequal}, {"<=", Compare::less_equal},
          {">=", Compare::greater_equal}, {"<", Compare::less},     {">", Compare::greater}};
      for (const auto& [word, compare] : operators) {
        if (step.compare == Compare::exists && take(word)) step.compare = compare;
      }
      if (step.compare == Compare::exists) return wrong("expected ==, !=, <, <=, >, >= or )");
      blanks();
      auto right = operand(depth);
      if (!right) return right.error();
      step.right = std::move(*right);
      blanks();
      if (!take(")")) return wrong("expected )");
    }
    blanks();
    if (!take("]")) return wrong("expected ]");
    out.push_back(std::move(step));
    return {};
  }

  Result<PathOperand> operand(int depth) {
    PathOperand out;
    if (now() == '"' || now() == '\'') {
      auto text = quoted();
      if (!text) return text.error();
      out.literal = json::string(*text);
      return out;
    }
    if (now() == '@' || now() == '$' || now() == '.') {
      out.is_path = true;
      auto found = path(true, depth + 1);
      if (!found) return found.error();
      out.path = std::move(*found);
      return out;
    }
    const auto length = std::min(rest().find_first_of(" )=!<>"), rest().size());
    boost::system::error_code malformed;
    const auto word = rest().substr(0, length);
    out.literal = json::parse({word.data(), word.size()}, malformed);
    if (malformed || out.literal.is_structured())
      return wrong("expected a path, a number, true, false or text in quotes");
    at_ += length;
    return out;
  }

  string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

Result<JsonPath> JsonPath::parse(std::string_view text) {
  if (text.size() > longest) return make_error(Errc::invalid_argument, "jsonpath: longer than 64 KiB");
  auto parts = Parser(text).all();
  if (!parts) return parts.error();
  JsonPath out;
  out.parts_ = std::make_shared<const std::vector<Part>>(std::move(*parts));
  return out;
}

}  // namespace heddle::tools
