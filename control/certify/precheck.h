// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "control/certify/review.h"

namespace heddle::control {

// How far the clocks of the API server and this process may be apart: a token is not called expired before.
inline constexpr std::chrono::minutes expiry_allowance{5};

// PURE: why the API server would refuse a token, as far as can be told without asking it: it is no JWT of at
// most 16 KiB, its claims (which nothing has verified) name another audience, or none, or it expired more
// than `expiry_allowance` ago. Nothing: it has to be asked. What this lets pass is not thereby good.
std::optional<ReviewFailure> precheck_token(std::string_view token, std::string_view audience,
                                            std::chrono::system_clock::time_point now);

}  // namespace heddle::control
