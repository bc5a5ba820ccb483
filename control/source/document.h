// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace heddle::source {

struct Field;

// One node of a YAML or JSON document, with aliases already replaced by what they name.
struct Value {
  enum class Kind { null, scalar, sequence, map };

  Kind kind = Kind::null;
  int line = 0;         // counted from 1; 0: unknown
  bool quoted = false;  // a scalar that is text whatever it looks like
  std::string scalar;
  std::vector<Value> items;   // of a sequence
  std::vector<Field> fields;  // of a map, in the file's order; keys are unique

  // The field, or nullptr; null for anything but a map.
  const Value* find(std::string_view key) const;
};

struct Field {
  std::string key;
  Value value;
};

// What one file may ask of the reader. Aliases are expanded, so `nodes` also stops documents that grow
// without end.
struct Limits {
  std::size_t bytes = 16 * 1024 * 1024;
  std::size_t nodes = 1'000'000;
  std::size_t depth = 48;
};

// Every document of the text, empty ones left out. Errors begin with the line ("12: ...").
Result<std::vector<Value>> read_yaml(std::string_view text, const Limits& limits = {});
// One JSON value (RFC 8259), or several separated by white space.
Result<std::vector<Value>> read_json(std::string_view text, const Limits& limits = {});

}  // namespace heddle::source
