// SPDX-License-Identifier: Apache-2.0
// What a JSONPath template is made of; between jsonpath_parse.cpp and jsonpath.cpp.
#pragma once

#include <boost/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "tools/output/jsonpath.h"

namespace heddle::tools {

struct PathStep;
using Path = std::vector<PathStep>;

// One side of a comparison.
struct PathOperand {
  boost::json::value literal;
  Path path;  // used if `is_path`; from the item that is looked at
  bool is_path = false;
};

struct PathStep {
  enum class Kind { fields, any, index, slice, recursive, filter };
  enum class Compare { exists, equal, unequal, less, less_equal, greater, greater_equal };

  Kind kind = Kind::fields;
  std::vector<std::vector<std::string>> fields;  // one or more ways down
  long index = 0;                                // negative: from the end
  std::optional<long> begin, end;                // of a slice
  long stride = 1;
  PathOperand left, right;
  Compare compare = Compare::exists;
};

struct JsonPath::Part {
  enum class Kind { text, path, range };
  Kind kind = Kind::text;
  std::string text;
  Path path;
  std::vector<Part> body;  // of a range
};

}  // namespace heddle::tools
