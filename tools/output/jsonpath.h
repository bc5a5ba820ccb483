// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/fwd.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace heddle::tools {

// PURE: the part of kubectl's JSONPath templates that people use: text, {.a.b} {['a\.b']} {[0]} {[-1]}
// {[0:2]}
// {[::2]} {[*]} {.*} {..name} {[?(@.a=="b")]} with == != < <= > >= or mere existence, {"literal\n"},
// {range ..}{end}. As kubectl does, what is not there prints nothing, an index beyond an array is an error,
// several values are separated by blanks, and structures are printed as JSON with sorted keys.
class JsonPath {
 public:
  // Errc::invalid_argument: what is wrong and where. Templates are at most 64 KiB long, ranges nest 16 deep.
  static Result<JsonPath> parse(std::string_view text);

  // Errc::invalid_argument: not for this document; Errc::exhausted: more than a million values.
  Result<std::string> apply(const boost::json::value& document) const;

  struct Part;  // of a template

 private:
  std::shared_ptr<const std::vector<Part>> parts_;
};

}  // namespace heddle::tools
