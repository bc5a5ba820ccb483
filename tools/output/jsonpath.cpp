// SPDX-License-Identifier: Apache-2.0
#include "tools/output/jsonpath.h"

#include <algorithm>
#include <charconv>

#include "tools/output/jsonpath_parts.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using Kind = PathStep::Kind;
using Compare = PathStep::Compare;
using Nodes = std::vector<const json::value*>;

constexpr std::size_t most_nodes = 1'000'000;

// As Go prints them: the shortest form that reads back equal.
std::string number_text(double value) {
  char text[400];
  auto done = std::to_chars(text, text + sizeof text, value, std::chars_format::scientific);
  std::string scientific(text, done.ptr);
  const auto mark = scientific.find('e');
  const int exponent = mark == std::string::npos ? 0 : std::atoi(scientific.c_str() + mark + 1);
  if (exponent < -4 || exponent >= 21) return scientific;
  done = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed);
  return {text, done.ptr};
}

// JSON with sorted keys, as Go writes it: <, > and & escaped.
void write(std::string& out, const json::value& value) {
  if (const auto* object = value.if_object()) {
    std::vector<const json::key_value_pair*> members;
    for (const auto& member : *object) members.push_back(&member);
    std::ranges::sort(members, {}, [](const auto* member) { return member->key(); });
    out += '{';
    for (const auto* member : members) {
      if (out.back() != '{') out += ',';
      write(out, json::value(json::string(member->key())));
      out += ':';
      write(out, member->value());
    }
    out += '}';
  } else if (const auto* array = value.if_array()) {
    out += '[';
    for (std::size_t at = 0; at < array->size(); ++at) {
      if (at > 0) out += ',';
      write(out, (*array)[at]);
    }
    out += ']';
  } else if (value.is_double()) {
    out += number_text(value.get_double());
  } else {
    for (const char c : json::serialize(value)) {
      out += c == '<' ? "\\u003c" : c == '>' ? "\\u003e" : c == '&' ? "\\u0026" : std::string(1, c);
    }
  }
}

std::string text_of(const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  std::string out;
  write(out, value);
  return out;
}

template <class T>
bool holds(Compare compare, const T& a, const T& b) {
  switch (compare) {
    case Compare::equal:
      return a == b;
    case Compare::unequal:
      return a != b;
    case Compare::less:
      return a < b;
    case Compare::less_equal:
      return a <= b;
    case Compare::greater:
      return a > b;
    case Compare::greater_equal:
      return a >= b;
    case Compare::exists:
      break;
  }
  return true;
}

// Of different types: never equal, and in no order.
bool holds_between(Compare compare, const json::value& a, const json::value& b) {
  if (a.is_number() && b.is_number()) return holds(compare, a.to_number<double>(), b.to_number<double>());
  if (a.is_string() && b.is_string())
    return holds(compare, std::string_view(a.get_string()), std::string_view(b.get_string()));
  if (a.is_bool() && b.is_bool()) return holds(compare, a.get_bool(), b.get_bool());
  return compare == Compare::unequal;
}

class Evaluation {
 public:
  Result<> parts(const std::vector<JsonPath::Part>& parts, const json::value& from, std::string& out) {
    for (const auto& part : parts) {
      if (part.kind == JsonPath::Part::Kind::text) {
        out += part.text;
        continue;
      }
      const auto found = path(part.path, from);
      if (!found) return found.error();
      for (std::size_t at = 0; at < found->size(); ++at) {
        const auto& node = *(*found)[at];
        if (part.kind == JsonPath::Part::Kind::range) {
          if (auto done = this->parts(part.body, node, out); !done) return done.error();
        } else {
          out += (at > 0 ? " " : "") + text_of(node);
        }
      }
      if (out.size() > most_text) return make_error(Errc::exhausted, "jsonpath: more than 256 MiB of text");
    }
    return {};
  }

 private:
  static constexpr std::size_t most_text = std::size_t{256} << 20U;

  Result<Nodes> path(const Path& steps, const json::value& from) {
    Nodes nodes{&from};
    for (const auto& step : steps) {
      Nodes next;
      for (const auto* node : nodes) {
        if (auto done = take(step, *node, next); !done) return done.error();
        visited_ += 1;
        if (next.size() > most_nodes || visited_ > 20 * most_nodes)
          return make_error(Errc::exhausted, "jsonpath: more than a million values");
      }
      nodes = std::move(next);
    }
    return nodes;
  }

  Result<> take(const PathStep& step, const json::value& node, Nodes& out) {
    switch (step.kind) {
      case Kind::fields:
        fields(step, node, out);
        return {};
      case Kind::any:
        children(node, out);
        return {};
      case Kind::recursive:
        descend(node, out);
        return {};
      case Kind::index:
      case Kind::slice:
        return elements(step, node, out);
      case Kind::filter:
        return filter(step, node, out);
    }
    return {};
  }

  static void fields(const PathStep& step, const json::value& node, Nodes& out) {
    for (const auto& way : step.fields) {
      const json::value* at = &node;
      for (const auto& name : way) {
        const auto* object = at->if_object();
        at = object ? object->if_contains(name) : nullptr;
        if (!at) break;
      }
      if (at) out.push_back(at);
    }
  }

  static void children(const json::value& node, Nodes& out) {
    if (const auto* array = node.if_array()) {
      for (const auto& member : *array) out.push_back(&member);
    } else if (const auto* object = node.if_object()) {
      for (const auto& member : *object) out.push_back(&member.value());
    }
  }

  // Itself and all below; boost::json parses at most 32 levels.
  static void descend(const json::value& node, Nodes& out) {
    if (out.size() > most_nodes) return;
    out.push_back(&node);
    Nodes below;
    children(node, below);
    for (const auto* child : below) descend(*child, out);
  }

  static Result<> elements(const PathStep& step, const json::value& node, Nodes& out) {
    const auto* array = node.if_array();
    if (!array) return make_error(Errc::invalid_argument, "jsonpath: an index into what is no array");
    const auto size = static_cast<long>(array->size());
    const auto from_end = [&](long at) { return at < 0 ? at + size : at; };
    const bool single = step.kind == Kind::index;
    const long begin = single ? from_end(step.index) : from_end(step.begin.value_or(0));
    const long end = single ? begin + 1 : from_end(step.end.value_or(size));
    if (begin == end) return {};
    if (begin < 0 || begin >= size || end < begin || end > size) {
      return make_error(Errc::invalid_argument,
                        "jsonpath: array index out of bounds: index " +
                            std::to_string(begin < 0 || begin >= size ? begin : end - 1) + ", length " +
                            std::to_string(size));
    }
    for (long at = begin; at < end; at += step.stride) out.push_back(&(*array)[static_cast<std::size_t>(at)]);
    return {};
  }

  Result<> filter(const PathStep& step, const json::value& node, Nodes& out) {
    const auto* array = node.if_array();
    if (!array) return make_error(Errc::invalid_argument, "jsonpath: a filter on what is no array");
    for (const auto& item : *array) {
      const auto left = operand(step.left, item);
      if (!left) return left.error();
      if (left->empty()) continue;
      if (step.compare == Compare::exists) {
        out.push_back(&item);
        continue;
      }
      const auto right = operand(step.right, item);
      if (!right) return right.error();
      if (left->size() > 1 || right->size() > 1)
        return make_error(Errc::invalid_argument, "jsonpath: a filter compares one value with one");
      if (!right->empty() && holds_between(step.compare, *left->front(), *right->front()))
        out.push_back(&item);
    }
    return {};
  }

  Result<Nodes> operand(const PathOperand& side, const json::value& item) {
    return side.is_path ? path(side.path, item) : Result<Nodes>(Nodes{&side.literal});
  }

  std::size_t visited_ = 0;
};

}  // namespace

Result<std::string> JsonPath::apply(const json::value& document) const {
  std::string out;
  if (auto done = Evaluation().parts(*parts_, document, out); !done) return done.error();
  return out;
}

}  // namespace heddle::tools
