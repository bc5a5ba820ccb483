// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

namespace heddle {

// What one message between heddle's processes may carry (base/io/unix_message.h). Larger ones are refused by
// the sender and by the receiver.
constexpr std::size_t max_unix_message_bytes = 128 * 1024;
constexpr std::size_t max_unix_message_fds = 250;  // SCM_MAX_FD is 253

}  // namespace heddle
