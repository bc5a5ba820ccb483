// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

// Bytes in JSON, as Kubernetes writes them (RFC 4648, 4, with padding). PURE.
namespace heddle::control {

std::string to_base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);  // nullopt: it is none

}  // namespace heddle::control
