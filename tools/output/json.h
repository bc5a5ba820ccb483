// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/fwd.hpp>
#include <string>

namespace heddle::tools {

// JSON text with numbers as people write them (0.25, not 2.5E-1; six significant digits). Two-space
// indentation when `pretty`. Infinite and undefined numbers become null.
std::string json_text(const boost::json::value& value, bool pretty = false);

}  // namespace heddle::tools
