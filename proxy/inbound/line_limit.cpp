// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound/line_limit.h"

#include <utility>

namespace heddle::proxy {

std::optional<std::uint64_t> LineLimit::admit(Time now) {
  if (now - second_began_ >= std::chrono::seconds(1)) {
    second_began_ = now;
    said_ = 0;
  }
  if (said_ >= most_) {
    ++left_out_;
    return std::nullopt;
  }
  ++said_;
  return std::exchange(left_out_, 0);
}

}  // namespace heddle::proxy
