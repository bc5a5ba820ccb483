// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/datapath/datapath.h"
#include "agent/loop.h"
#include "agent/registry.h"

namespace heddle::agent {

// The last connections that a hook refused, for `heddle` and its followers. Main thread.
class DropLog {
 public:
  static constexpr std::size_t capacity = 1000;
  // Takes one JSON object and a newline; false: it is gone.
  using Follower = std::function<bool(std::string)>;

  DropLog(Loop& loop, const Registry& registry) : loop_(loop), registry_(registry) {}
  // nullptr: none (any more). Idempotent.
  void watch(Datapath* datapath);
  void follow(Follower follower) { followers_.push_back(std::move(follower)); }
  // JSON objects, oldest first.
  const std::deque<std::string>& recent() const { return recent_; }
  std::uint64_t total() const { return total_; }

 private:
  void read();
  void add(const DropEvent& event);

  Loop& loop_;
  const Registry& registry_;
  Datapath* datapath_ = nullptr;
  std::unique_ptr<Loop::Handle> readable_;
  std::deque<std::string> recent_;
  std::vector<Follower> followers_;
  std::uint64_t total_ = 0;
};

}  // namespace heddle::agent
