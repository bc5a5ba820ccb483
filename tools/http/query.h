// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace heddle::tools {

// Percent-encodes everything but unreserved characters (RFC 3986, 2.3).
std::string query_escape(std::string_view text);

}  // namespace heddle::tools
