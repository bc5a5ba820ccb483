// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>

#include "proxy/io/loop.h"

namespace heddle::proxy::http {

class DeadlineList;

// Something that must have happened in time. In one list at most; leaves it by being destroyed.
class Deadline {
 public:
  // The time is over; no longer in the list. May destroy the item or start another wait.
  virtual void on_deadline() = 0;
  const DeadlineList* waits_in() const { return list_; }

 protected:
  Deadline() = default;
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;
  ~Deadline() { leave(); }
  void leave();

 private:
  friend class DeadlineList;
  DeadlineList* list_ = nullptr;
  Deadline* previous_ = nullptr;
  Deadline* next_ = nullptr;
  Loop::Clock::time_point at_{};
};

// Time-outs of one length: who begins to wait last is due last, so a list in order of arrival is sorted.
// Beginning and ending a wait is a few pointers, and thousands of waits share one timer.
class DeadlineList {
 public:
  // `length` zero: waits never end.
  DeadlineList(Loop& loop, std::chrono::milliseconds length);
  ~DeadlineList();
  DeadlineList(const DeadlineList&) = delete;
  DeadlineList& operator=(const DeadlineList&) = delete;

  // Waits end at all.
  bool limits() const { return length_ > std::chrono::milliseconds(0); }
  // Begins the wait of `item`, anew when it is in this list or another.
  void start(Deadline& item);

 private:
  friend class Deadline;
  void unlink(Deadline& item);
  void run();

  Loop& loop_;
  const std::chrono::milliseconds length_;
  Timer timer_;
  Deadline* first_ = nullptr;
  Deadline* last_ = nullptr;
};

}  // namespace heddle::proxy::http
