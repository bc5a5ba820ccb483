// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "proxy/telemetry/recorder.h"

namespace heddle::proxy {

// The pieces of an admin request's target. Pure, never fails: what is malformed is left out.
struct Query {
  std::map<std::string, std::string> values;
  // The value, decoded, or empty.
  std::string get(const std::string& name) const;
};
std::string path_of(std::string_view target);
Query parse_query(std::string_view target);

// pod, ns, protocol, method, path (its beginning), status. Errc::invalid_argument names what is not one of
// them, and a status that is no number: either would otherwise match everything.
Result<TapFilter> tap_filter(const Query& query);

// Without blanks at both ends.
std::string trimmed(std::string_view text);

}  // namespace heddle::proxy
