// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "agent/departure.h"
#include "agent/loop.h"
#include "base/result.h"

namespace heddle::source::kubernetes {
class Caller;
}

namespace heddle::agent {

// The DaemonSet that runs this agent: seen once while it starts (tried again until that succeeds), followed
// from then on, and asked for when the agent is told to end. `api` outlives it. Main thread.
class OwnDaemonSet {
 public:
  // Starts looking.
  OwnDaemonSet(Loop& loop, source::kubernetes::Caller& api, std::string ns, std::string name);
  ~OwnDaemonSet();

  // `done` is called once, on the loop, within `deadline`.
  void ask(std::function<void(Departure)> done);
  static constexpr std::chrono::milliseconds deadline{3'000};

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace heddle::agent
