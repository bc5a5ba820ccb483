// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

// Bytes as text (RFC 4648). Decoding gives nullopt for anything else. PURE.
namespace heddle::source {

// As Kubernetes has bytes in JSON: section 4, with padding.
std::string to_base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);

// As people write it into a kubeconfig: white space left out, with or without padding.
std::optional<std::string> from_written_base64(std::string_view text);

// As tokens have it: section 5, without padding (RFC 7515, 2).
std::optional<std::string> from_base64url(std::string_view text);

}  // namespace heddle::source
