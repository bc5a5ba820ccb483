// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include "base/result.h"

namespace heddle::proxy {

// A pod may become meshed, or cease to be, while it runs, and discovery tells of it sooner or later than its
// node acts. In between the endpoint does not prove the identity that discovery names, and nothing of the
// client's has been sent to it: the client waits for so long, in steps, until either of them has caught up.
// So it does while the proxy of the endpoint's node is replaced without an overlap: what dials that node
// waits in the listener for as long as kubelet takes.
constexpr std::chrono::seconds unready_patience{60};
constexpr std::chrono::milliseconds unready_look{100};

// Did the endpoint not answer as one of the mesh? One that proved to be another, or refuses, is not asked
// again.
inline bool is_unready(const Error& error) {
  return error.code == make_error_code(Errc::unavailable) || error.code == make_error_code(Errc::timeout);
}

}  // namespace heddle::proxy
