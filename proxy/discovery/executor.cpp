// SPDX-License-Identifier: Apache-2.0
#include "proxy/discovery/executor.h"

#include <pthread.h>

namespace heddle::proxy {

Executor::Executor(const char* name) : thread_([this, name] { run(name); }) {}

void Executor::post(Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
}

void Executor::at(Clock::time_point when, Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    later_.emplace(when, std::move(task));
  }
  wake_.notify_one();
}

void Executor::stop() {
  std::deque<Task> tasks;
  std::multimap<Clock::time_point, Task> later;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    tasks.swap(tasks_);  // destroyed without the lock: tasks own things that may post
    later.swap(later_);
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Executor::run(const char* name) {
  pthread_setname_np(pthread_self(), name);
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    const auto now = Clock::now();
    while (!later_.empty() && later_.begin()->first <= now) {
      tasks_.push_back(std::move(later_.begin()->second));
      later_.erase(later_.begin());
    }
    if (tasks_.empty()) {
      if (later_.empty()) {
        wake_.wait(lock);
      } else {
        wake_.wait_until(lock, later_.begin()->first);
      }
      continue;
    }
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    {
      const std::lock_guard running(state);
      task();
      task = nullptr;
    }
    lock.lock();
  }
}

}  // namespace heddle::proxy
