// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <string>

#include "tools/commands/command.h"
#include "tools/output/json.h"
#include "tools/output/yaml_text.h"

namespace heddle::tools {

// The value as `-o json` or `-o yaml` prints it.
inline std::string document_text(const boost::json::value& value, Output output) {
  return output == Output::yaml ? yaml_text(value) : json_text(value, true) + "\n";
}

}  // namespace heddle::tools
