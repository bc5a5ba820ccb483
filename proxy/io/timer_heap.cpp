// SPDX-License-Identifier: Apache-2.0
#include "proxy/io/timer_heap.h"

#include <utility>

namespace heddle::proxy {

void TimerHeap::expect_one_more() {
  ++timers_;
  if (heap_.capacity() < timers_) heap_.reserve(timers_ * 2);
}

void TimerHeap::place(std::size_t index, TimerNode* node) {
  heap_[index] = node;
  node->index = index;
}

void TimerHeap::sift_up(std::size_t index) {
  TimerNode* node = heap_[index];
  while (index > 0) {
    const std::size_t parent = (index - 1) / 2;
    if (heap_[parent]->queued <= node->queued) break;
    place(index, heap_[parent]);
    index = parent;
  }
  place(index, node);
}

void TimerHeap::sift_down(std::size_t index) {
  TimerNode* node = heap_[index];
  while (true) {
    std::size_t child = 2 * index + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && heap_[child + 1]->queued < heap_[child]->queued) ++child;
    if (node->queued <= heap_[child]->queued) break;
    place(index, heap_[child]);
    index = child;
  }
  place(index, node);
}

void TimerHeap::remove_at(std::size_t index) {
  heap_[index]->index = TimerNode::not_queued;
  TimerNode* last = heap_.back();
  heap_.pop_back();
  if (index == heap_.size()) return;
  place(index, last);
  sift_down(index);
  sift_up(last->index);
}

void TimerHeap::arm(TimerNode& node, Clock::time_point deadline) {
  node.armed = true;
  node.deadline = deadline;
  if (node.index == TimerNode::not_queued) {
    node.queued = deadline;
    heap_.push_back(&node);
    node.index = heap_.size() - 1;
    sift_up(node.index);
  } else if (deadline < node.queued) {
    node.queued = deadline;
    sift_up(node.index);
  }
}

void TimerHeap::forget(TimerNode& node) {
  if (node.index != TimerNode::not_queued) remove_at(node.index);
  if (firing_ == &node) firing_ = nullptr;
}

std::optional<TimerHeap::Clock::time_point> TimerHeap::next() const {
  if (heap_.empty()) return std::nullopt;
  return heap_.front()->queued;
}

void TimerHeap::run(Clock::time_point now) {
  while (!heap_.empty() && heap_.front()->queued <= now) {
    TimerNode* node = heap_.front();
    if (node->armed && node->deadline > now) {
      node->queued = node->deadline;
      sift_down(0);
      continue;
    }
    remove_at(0);
    if (!node->armed) continue;
    node->armed = false;
    // The callback may destroy its timer: it runs from here, and returns home only if there still is one.
    firing_ = node;
    auto callback = std::move(node->callback);
    callback();
    if (firing_ == node) node->callback = std::move(callback);
    firing_ = nullptr;
  }
}

}  // namespace heddle::proxy
