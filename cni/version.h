// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <optional>
#include <string_view>

namespace heddle::cni {

// Versions of the CNI specification that the plugin speaks, oldest first. PURE.
constexpr std::array<std::string_view, 4> supported_versions{"0.3.1", "0.4.0", "1.0.0", "1.1.0"};
constexpr std::string_view newest_version = supported_versions.back();

enum class Version { v0_3_1, v0_4_0, v1_0_0, v1_1_0 };

constexpr std::optional<Version> parse_version(std::string_view text) {
  for (std::size_t i = 0; i < supported_versions.size(); ++i) {
    if (supported_versions[i] == text) return static_cast<Version>(i);
  }
  return std::nullopt;
}

}  // namespace heddle::cni
