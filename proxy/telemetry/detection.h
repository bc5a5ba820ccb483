// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string_view>

#include "proxy/telemetry/telemetry.h"

namespace heddle::proxy {

// Counts how a connection's protocol became known, and how long that took: `result` is "http/1", "http/2",
// "tls" or "opaque" for what the client said, "server_first" when the server spoke before, "timeout" when
// nobody did.
void count_detection(Telemetry& telemetry, Direction direction, std::string_view result,
                     std::chrono::nanoseconds took);

}  // namespace heddle::proxy
