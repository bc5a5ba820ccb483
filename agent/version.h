// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace heddle::agent {

extern const char* const version;  // "0.1.0"

}  // namespace heddle::agent
