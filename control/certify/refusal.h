// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace heddle::control {

// Why a certificate is not given.
enum class Refusal : std::uint8_t { token, not_scheduled, bad_request, rate, unavailable, identity, node };
inline constexpr std::array<std::string_view, 7> refusal_names = {
    "token", "not_scheduled", "bad_request", "rate", "unavailable", "identity", "node"};

struct Refused {
  Refusal reason;
  std::string why;  // for the caller and the log
};

}  // namespace heddle::control
