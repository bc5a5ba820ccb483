// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/fwd.hpp>
#include <string>

namespace heddle::tools {

// The value in YAML 1.2's block style, ending with a line break. Strings that a reader of YAML 1.1 or 1.2
// could take for something else are quoted. Numbers as json_text() writes them.
std::string yaml_text(const boost::json::value& value);

}  // namespace heddle::tools
