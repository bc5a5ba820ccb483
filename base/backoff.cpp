// SPDX-License-Identifier: Apache-2.0
#include "base/backoff.h"

#include <algorithm>

namespace heddle {

Backoff::Backoff(Policy policy, std::uint64_t seed)
    : policy_(policy), current_(policy.min), random_(seed | 1) {}

std::chrono::milliseconds Backoff::next() {
  // xorshift64: quality is irrelevant here, being cheap and seedable is not.
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  const double fraction = static_cast<double>(random_ >> 11) / 9007199254740992.0;
  const auto wait = current_ + std::chrono::milliseconds(static_cast<std::int64_t>(
                                   static_cast<double>(current_.count()) * policy_.jitter * fraction));
  current_ = std::min(current_ * 2, policy_.max);
  return wait;
}

}  // namespace heddle
