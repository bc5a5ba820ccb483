// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace heddle::tools {

// Kubernetes objects of one YAML (or JSON) text: documents split, kinds ending in "List" expanded, empty
// documents skipped. Plain scalars become what YAML 1.2's core schema says, quoted ones stay strings.
// `origin` (a file name) begins every error. Bounded: nesting of 64, 200,000 nodes (aliases counted each
// time).
Result<std::vector<boost::json::object>> parse_objects(std::string_view text, const std::string& origin);

// The one map that a YAML (or JSON) text holds, whatever it is about; an empty text has an empty one. The
// same bounds.
Result<boost::json::object> parse_map(std::string_view text, const std::string& origin);

// All *.yaml, *.yml and *.json of a folder in the order of their names, or one file.
Result<std::vector<boost::json::object>> load_objects(const std::string& path);

}  // namespace heddle::tools
