// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

namespace heddle::proxy {

// One timer as the heap sees it. Owned by its Timer.
struct TimerNode {
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t not_queued = ~std::size_t{0};

  std::function<void()> callback;
  Clock::time_point deadline{};  // meaningful while armed
  Clock::time_point queued{};    // its key in the heap, never later than `deadline`
  std::size_t index = not_queued;
  bool armed = false;
};

// A binary heap of timers that is lazy about what time-outs do all the time: pushing a deadline further away
// and cancelling only change the node; the heap notices when the old time comes. Pure: the time is passed in.
class TimerHeap {
 public:
  using Clock = TimerNode::Clock;

  // Room for as many entries as timers exist, so that arming never allocates.
  void expect_one_more();
  void expect_one_less() { --timers_; }

  void arm(TimerNode& node, Clock::time_point deadline);
  // The node goes away, possibly from inside its own callback.
  void forget(TimerNode& node);
  // When run() should be called next; may be early because of laziness.
  std::optional<Clock::time_point> next() const;
  // Calls back everything due at `now`.
  void run(Clock::time_point now);
  std::size_t queued() const { return heap_.size(); }

 private:
  void place(std::size_t index, TimerNode* node);
  void sift_up(std::size_t index);
  void sift_down(std::size_t index);
  void remove_at(std::size_t index);

  std::vector<TimerNode*> heap_;
  std::size_t timers_ = 0;
  TimerNode* firing_ = nullptr;
};

}  // namespace heddle::proxy
