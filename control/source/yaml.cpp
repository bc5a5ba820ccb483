// SPDX-License-Identifier: Apache-2.0
#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

#include "control/source/document.h"

namespace heddle::source {
namespace {

// Thrown through yaml-cpp's parser, which offers no other way to stop.
struct Refused {
  int line;
  std::string why;
};

struct Size {
  std::size_t nodes = 1;
  std::size_t depth = 1;
  std::size_t bytes = 0;  // of text
};

Size measure(const Value& value) {
  Size size{1, 0, value.scalar.size()};
  const auto add = [&size](const Value& child) {
    const Size part = measure(child);
    size.nodes += part.nodes;
    size.bytes += part.bytes;
    size.depth = std::max(size.depth, part.depth);
  };
  for (const Value& item : value.items) add(item);
  for (const auto& [key, field] : value.fields) {
    add(field);
    size.bytes += key.size();
  }
  ++size.depth;
  return size;
}

// Builds Values from yaml-cpp's events instead of using its node graph: that keeps lines, and lets aliases be
// counted as they are expanded.
class Builder : public YAML::EventHandler {
 public:
  explicit Builder(const Limits& limits) : limits_(limits) {}

  std::vector<Value> take() { return std::move(documents_); }

  void OnDocumentStart(const YAML::Mark&) override {
    open_.clear();
    anchors_.clear();
    kept_ = 0;
    kept_bytes_ = 0;
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(at(mark), anchor); }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) throw Refused{mark.line + 1, "an alias stands inside what it names"};
    spend(found->second.size.nodes, found->second.size.bytes, mark.line + 1);
    if (open_.size() + found->second.size.depth > limits_.depth) throw Refused{mark.line + 1, too_deep()};
    place(Value(found->second.value), 0);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    Value value = at(mark);
    // yaml-cpp's tag is "!" for quoted scalars and "?" for plain ones (YAML 1.2, 3.3.2).
    value.quoted = tag == "!" || tag.ends_with(":str");
    const bool null = !value.quoted && (text == "~" || text == "null" || text == "Null" || text == "NULL");
    value.kind = null ? Value::Kind::null : Value::Kind::scalar;
    value.scalar = text;
    add(std::move(value), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    begin(Value::Kind::sequence, mark, anchor);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    begin(Value::Kind::map, mark, anchor);
  }
  void OnMapEnd() override { end(); }

 private:
  struct Open {
    Value value;
    YAML::anchor_t anchor = 0;
    std::string key;
    bool has_key = false;
    std::unordered_set<std::string> keys;
  };
  struct Anchored {
    Value value;
    Size size;
  };

  static Value at(const YAML::Mark& mark) {
    Value value;
    value.line = mark.line + 1;
    return value;
  }

  std::string too_deep() const { return "nested deeper than " + std::to_string(limits_.depth) + " levels"; }

  // Only aliases can make a document larger than its file; both counts include them each time.
  void spend(std::size_t nodes, std::size_t bytes, int line) {
    nodes_ += nodes;
    bytes_ += bytes;
    if (nodes_ > limits_.nodes || bytes_ > 2 * limits_.bytes) {
      throw Refused{line, "more than " + std::to_string(limits_.nodes) +
                              " values or too much text (aliases count each time); split the file"};
    }
  }

  void begin(Value::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    spend(1, 0, mark.line + 1);
    if (open_.size() >= limits_.depth) throw Refused{mark.line + 1, too_deep()};
    Open open;
    open.value = at(mark);
    open.value.kind = kind;
    open.anchor = anchor;
    open_.push_back(std::move(open));
  }

  void end() {
    Open done = std::move(open_.back());
    open_.pop_back();
    place(std::move(done.value), done.anchor);
  }

  void add(Value value, YAML::anchor_t anchor) {
    spend(1, value.scalar.size(), value.line);
    place(std::move(value), anchor);
  }

  void place(Value value, YAML::anchor_t anchor) {
    if (anchor != 0) remember(value, anchor);
    if (open_.empty()) {
      if (value.kind != Value::Kind::null) documents_.push_back(std::move(value));
      return;
    }
    Open& parent = open_.back();
    if (parent.value.kind == Value::Kind::sequence) {
      parent.value.items.push_back(std::move(value));
    } else if (!parent.has_key) {
      if (value.kind == Value::Kind::sequence || value.kind == Value::Kind::map) {
        throw Refused{value.line, "a list or map is used as a key"};
      }
      if (!parent.keys.insert(value.scalar).second) {
        throw Refused{value.line, "the key '" + value.scalar + "' occurs twice"};
      }
      parent.key = std::move(value.scalar);
      parent.has_key = true;
    } else {
      parent.value.fields.push_back({std::move(parent.key), std::move(value)});
      parent.has_key = false;
    }
  }

  // Anchors keep a copy, so those copies are bounded like the document itself.
  void remember(const Value& value, YAML::anchor_t anchor) {
    Anchored anchored{value, measure(value)};
    kept_ += anchored.size.nodes;
    kept_bytes_ += anchored.size.bytes;
    if (kept_ > limits_.nodes || kept_bytes_ > limits_.bytes)
      throw Refused{value.line, "too much is anchored; write it out"};
    anchors_[anchor] = std::move(anchored);
  }

  const Limits& limits_;
  std::vector<Value> documents_;
  std::vector<Open> open_;
  std::unordered_map<YAML::anchor_t, Anchored> anchors_;
  std::size_t nodes_ = 0;  // built so far
  std::size_t bytes_ = 0;
  std::size_t kept_ = 0;  // of this document's anchors
  std::size_t kept_bytes_ = 0;
};

}  // namespace

Result<std::vector<Value>> read_yaml(std::string_view text, const Limits& limits) {
  if (text.size() > limits.bytes) {
    return make_error(Errc::exhausted,
                      "1: larger than " + std::to_string(limits.bytes) + " bytes; split the file");
  }
  Builder builder(limits);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refused& refused) {
    return make_error(Errc::invalid_argument, std::to_string(refused.line) + ": " + refused.why);
  } catch (const YAML::Exception& exception) {
    const int line = exception.mark.is_null() ? 1 : exception.mark.line + 1;
    return make_error(Errc::invalid_argument, std::to_string(line) + ": not YAML: " + exception.msg);
  }
  return builder.take();
}

}  // namespace heddle::source
