// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "agent/events/event.h"
#include "agent/loop.h"

namespace heddle::source::kubernetes {
class Caller;
}

namespace heddle::agent {

// Tells the API server what happened to pods: one Event per pod and reason, whose count rises. At most
// `burst` at once and `per_second` on the average; what comes faster waits, aggregated, and the newest words
// win. A failure is not worth more than a line in the log: it is told again when it happens again. Main
// thread.
class EventRecorder {
 public:
  struct Totals {
    std::uint64_t written = 0;
    std::uint64_t failed = 0;
    std::uint64_t dropped = 0;  // too many pods at once
  };
  // `api` outlives it.
  EventRecorder(Loop& loop, source::kubernetes::Caller& api, std::string node);
  ~EventRecorder();
  void report(const EventSubject& subject, EventReason reason, std::string message);
  const Totals& totals() const { return totals_; }

  static constexpr double burst = 25;
  static constexpr double per_second = 5;
  static constexpr std::size_t most_remembered = 4096;

 private:
  using Clock = std::chrono::steady_clock;
  struct Remembered {
    Event event;
    bool exists = false;  // the API server has it
    bool due = false;     // has news
    bool writing = false;
    Clock::time_point told;
  };
  void write_due();
  void write(const std::string& name, Remembered& remembered);
  void written(const std::string& name, int status, const std::string& problem);
  void make_room();

  Loop& loop_;
  source::kubernetes::Caller& api_;
  std::string node_;
  Totals totals_;
  std::map<std::string, Remembered> events_;  // by namespace/name
  double tokens_ = burst;
  Clock::time_point refilled_ = Clock::now();
  std::string problem_;  // the last that was logged
  std::unique_ptr<Loop::Handle> timer_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace heddle::agent
