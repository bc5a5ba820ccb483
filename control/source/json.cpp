// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <boost/json.hpp>

#include "control/source/document.h"

namespace heddle::source {
namespace json = boost::json;
namespace {

Value convert(const json::value& from) {
  Value to;
  switch (from.kind()) {
    case json::kind::null:
      return to;
    case json::kind::string:
      to.kind = Value::Kind::scalar;
      to.quoted = true;
      to.scalar.assign(from.get_string().data(), from.get_string().size());
      return to;
    case json::kind::array:
      to.kind = Value::Kind::sequence;
      to.items.reserve(from.get_array().size());
      for (const json::value& item : from.get_array()) to.items.push_back(convert(item));
      return to;
    case json::kind::object:
      to.kind = Value::Kind::map;
      to.fields.reserve(from.get_object().size());
      for (const auto& field : from.get_object()) {
        to.fields.push_back({std::string(field.key()), convert(field.value())});
      }
      return to;
    default:
      to.kind = Value::Kind::scalar;
      to.scalar = json::serialize(from);
      return to;
  }
}

// A value takes at least two characters, one of them punctuation or a digit, so this never undercounts by
// much; it only has to keep memory proportional to the limit.
std::size_t rough_node_count(std::string_view text) {
  return 1 + static_cast<std::size_t>(std::ranges::count_if(
                 text, [](char c) { return c == ',' || c == '{' || c == '[' || c == ':'; }));
}

}  // namespace

Result<std::vector<Value>> read_json(std::string_view text, const Limits& limits) {
  if (text.size() > limits.bytes) {
    return make_error(Errc::exhausted,
                      "1: larger than " + std::to_string(limits.bytes) + " bytes; split the file");
  }
  std::vector<Value> documents;
  json::parse_options options;
  options.max_depth = limits.depth;
  json::stream_parser parser({}, options);
  std::size_t offset = 0;
  const auto line = [&] {
    return std::to_string(1 + std::ranges::count(text.substr(0, offset), '\n')) + ": ";
  };
  if (rough_node_count(text) > 4 * limits.nodes) {
    return make_error(Errc::exhausted,
                      "1: more than " + std::to_string(limits.nodes) + " values; split the file");
  }
  while (true) {
    while (offset < text.size() && std::string_view(" \t\r\n").find(text[offset]) != std::string_view::npos)
      ++offset;
    if (offset == text.size()) return documents;
    json::error_code error;
    parser.reset();
    offset += parser.write_some(text.data() + offset, text.size() - offset, error);
    if (!error && !parser.done()) parser.finish(error);
    if (error) return make_error(Errc::invalid_argument, line() + "not JSON: " + error.message());
    documents.push_back(convert(parser.release()));
    if (documents.back().kind == Value::Kind::null) documents.pop_back();
  }
}

}  // namespace heddle::source
