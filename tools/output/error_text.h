// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"

namespace heddle::tools {

// An error as a person reads it: our own sentences stand alone, those of the system follow what was being
// done.
std::string error_text(const Error& error);

}  // namespace heddle::tools
