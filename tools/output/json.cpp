// SPDX-License-Identifier: Apache-2.0
#include "tools/output/json.h"

#include <boost/json.hpp>
#include <cmath>
#include <cstdio>

namespace heddle::tools {
namespace {

namespace json = boost::json;

class Writer {
 public:
  explicit Writer(bool pretty) : pretty_(pretty) {}

  void write(const json::value& value, int depth) {
    if (value.is_object()) {
      list(value.get_object(), '{', '}', depth, [&](const auto& entry) {
        out_ += json::serialize(json::string(entry.key())) + (pretty_ ? ": " : ":");
        write(entry.value(), depth + 1);
      });
    } else if (value.is_array()) {
      list(value.get_array(), '[', ']', depth, [&](const auto& entry) { write(entry, depth + 1); });
    } else if (value.is_double()) {
      number(value.get_double());
    } else {
      out_ += json::serialize(value);
    }
  }
  std::string take() { return std::move(out_); }

 private:
  template <class Container, class Each>
  void list(const Container& entries, char open, char close, int depth, const Each& each) {
    out_ += open;
    bool first = true;
    for (const auto& entry : entries) {
      if (!first) out_ += ',';
      first = false;
      line(depth + 1);
      each(entry);
    }
    if (!first) line(depth);
    out_ += close;
  }

  void line(int depth) {
    if (pretty_) out_ += "\n" + std::string(static_cast<std::size_t>(depth) * 2, ' ');
  }

  void number(double value) {
    if (!std::isfinite(value)) {
      out_ += "null";
      return;
    }
    char text[40];
    if (value == std::floor(value) && std::abs(value) < 1e15) {
      std::snprintf(text, sizeof text, "%.0f", value);
    } else {
      std::snprintf(text, sizeof text, "%.6g", value);
    }
    out_ += text;
  }

  bool pretty_;
  std::string out_;
};

}  // namespace

std::string json_text(const json::value& value, bool pretty) {
  Writer writer(pretty);
  writer.write(value, 0);
  return writer.take();
}

}  // namespace heddle::tools
