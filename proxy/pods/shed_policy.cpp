// SPDX-License-Identifier: Apache-2.0
#include "proxy/pods/shed_policy.h"

#include <algorithm>
#include <utility>

namespace heddle::proxy {

bool ShedPolicy::sheds(std::uint32_t pod) const {
  return std::find(shedding_.begin(), shedding_.end(), pod) != shedding_.end();
}

// Of the pods that do not shed yet the one that uses most, if that is more than its fair share: the average
// of all that use anything. A pod alone is always it.
const ShedPolicy::Use* ShedPolicy::next_offender(std::span<const Use> pods) const {
  std::uint64_t total = 0;
  std::uint64_t users = 0;
  const Use* most = nullptr;
  for (const Use& each : pods) {
    if (each.amount == 0) continue;
    total += each.amount;
    ++users;
    if (!sheds(each.pod) && (most == nullptr || each.amount > most->amount)) most = &each;
  }
  if (most == nullptr) return nullptr;
  return users == 1 || most->amount > total / users ? most : nullptr;
}

ShedPolicy::Decision ShedPolicy::look(std::uint64_t used, std::uint64_t limit, std::span<const Use> pods,
                                      Clock::time_point now) {
  Decision decision;
  const double part = limit == 0 ? 0 : static_cast<double>(used) / static_cast<double>(limit);
  if (part < end) {
    decision.ended = std::exchange(shedding_, {});
    return decision;
  }
  // Who left gives nothing back any more.
  std::erase_if(shedding_, [&](std::uint32_t pod) {
    return std::none_of(pods.begin(), pods.end(), [pod](const Use& each) { return each.pod == pod; });
  });
  if (part >= begin && (shedding_.empty() || now - added_ >= patience)) {
    if (const Use* offender = next_offender(pods)) {
      shedding_.push_back(offender->pod);
      decision.begun.push_back(offender->pod);
      added_ = now;
    }
  }
  decision.shedding = shedding_;
  decision.reset = part >= urgent || (part >= begin && !shedding_.empty() && now - added_ >= patience);
  return decision;
}

}  // namespace heddle::proxy
