// SPDX-License-Identifier: Apache-2.0
#include "proxy/program/limit_report.h"

namespace heddle::proxy {

std::vector<LimitReport::Line> LimitReport::look(const Pod& pod, Clock::time_point now) {
  Told& told = told_[pod.id];
  if (told.netns_cookie != pod.netns_cookie) told = {pod.netns_cookie, {}, {}};
  std::vector<Line> lines;
  for (std::size_t i = 0; i < limit_count; ++i) {
    const std::uint64_t counted = pod.load->limited[i].load(std::memory_order_relaxed);
    const bool first = told.counted[i] == 0;
    if (counted == told.counted[i] || (!first && now - told.at[i] < pause)) continue;
    lines.push_back({static_cast<Limit>(i), counted - told.counted[i]});
    told.counted[i] = counted;
    told.at[i] = now;
  }
  return lines;
}

const char* LimitReport::next_step(Limit limit) {
  switch (limit) {
    case Limit::connections:
      return "look for what it keeps open, or raise heddle.io/max-connections";
    case Limit::requests:
      return "look for what does not answer it, or raise heddle.io/max-requests";
    case Limit::buffered_bytes:
      return "look for readers that do not read, or raise heddle.io/max-buffered-bytes";
    case Limit::accept_rate:
      return "let it keep connections, or raise heddle.io/max-accepts-per-second";
    case Limit::descriptors:
      return "the process was about to run out of descriptors: lower heddle.io/max-connections of this pod, "
             "or "
             "raise the process' limit of open files";
    case Limit::memory:
      return "the process was about to run out of memory: lower this pod's limits, or raise the proxy's";
  }
  return "";
}

}  // namespace heddle::proxy
