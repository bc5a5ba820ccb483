// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace heddle::proxy {

// One thread that runs tasks in order, now or later, holding `state` while it does: whoever else holds it may
// read what the tasks change. post() and at() are callable from any thread and forget the task once stopped.
class Executor {
 public:
  using Task = std::function<void()>;
  using Clock = std::chrono::steady_clock;

  explicit Executor(const char* name);
  ~Executor() { stop(); }
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  void post(Task task);
  void at(Clock::time_point when, Task task);
  // Waits for the running task; not from inside one.
  void stop();

  mutable std::mutex state;

 private:
  void run(const char* name);
  std::mutex mutex_;  // of the queues
  std::condition_variable wake_;
  std::deque<Task> tasks_;
  std::multimap<Clock::time_point, Task> later_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace heddle::proxy
