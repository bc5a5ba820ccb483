// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "proxy/discovery/entry.h"

namespace heddle::proxy {

std::string json_text(std::string_view text);  // quoted and escaped
const char* to_string(Destination::State state);
// The members of an object, without braces.
std::string json_members(const Resolution& resolution);

}  // namespace heddle::proxy
