// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "proxy/io/loop.h"
#include "proxy/pods/pod.h"
#include "proxy/pods/shed_policy.h"
#include "proxy/program/ceilings.h"
#include "proxy/program/limit_report.h"

namespace heddle::proxy {

// Looks a few times a second how near the process is to its ceilings and lets the pod that uses most shed;
// and logs who was limited. On the link thread.
class PodGuard {
 public:
  struct Hooks {
    std::function<void(const std::function<void(const Pod&)>&)> for_each_pod;
    std::function<Ceiling()> descriptors;
    std::function<Ceiling()> memory;
    // The pod's connections are to end as soon as they can be spared, and so many of them at once.
    std::function<void(std::uint32_t pod_id, std::size_t resets)> shed;
  };
  PodGuard(Loop& loop, Hooks hooks);
  void start() { timer_.arm(period); }
  // What the timer does.
  void look(Loop::Clock::time_point now);

  static constexpr std::chrono::milliseconds period{200};
  // With more than half of something used: a burst of connections takes the rest within a few of these.
  static constexpr std::chrono::milliseconds short_period{20};
  std::chrono::milliseconds next_look() const { return near_ ? short_period : period; }

 private:
  struct Resource {
    Limit limit;
    ShedPolicy policy;
  };
  void decide(Resource& resource, const Ceiling& ceiling, const std::vector<ShedPolicy::Use>& uses,
              Loop::Clock::time_point now);
  void report(const Pod& pod, Loop::Clock::time_point now);

  Loop& loop_;
  Hooks hooks_;
  Timer timer_;
  Resource descriptors_{Limit::descriptors, {}};
  Resource memory_{Limit::memory, {}};
  LimitReport report_;
  bool near_ = false;
};

}  // namespace heddle::proxy
