// SPDX-License-Identifier: Apache-2.0
#include "agent/version.h"

namespace heddle::agent {

const char* const version = HEDDLE_VERSION;

}  // namespace heddle::agent
