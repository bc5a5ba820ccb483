// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"

namespace heddle::proxy {

// Receives the readiness of one descriptor. Edge-triggered: read or write until it would block, or remember
// that you did not and go on later by yourself.
class IoHandler {
 public:
  virtual void on_io(std::uint32_t epoll_events) = 0;

 protected:
  ~IoHandler() = default;
};

class Timer;

// A worker's event loop: epoll(7), timers, and work posted from other threads. One thread runs it; every
// member but post() and stop() belongs to that thread.
class Loop {
 public:
  using Task = std::function<void()>;
  using Clock = std::chrono::steady_clock;

  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Watches a descriptor; `events` as in epoll_ctl(2), EPOLLET (or EPOLLEXCLUSIVE for listeners) included by
  // the caller. The handler must outlive the watch.
  Result<> add(int fd, std::uint32_t events, IoHandler& handler);
  Result<> modify(int fd, std::uint32_t events, IoHandler& handler);
  // After this no event of the descriptor is delivered any more, not even one already fetched.
  void remove(int fd, IoHandler& handler);
  // The same for a descriptor that is closed right after: epoll forgets it by itself then (epoll(7)), which
  // spares a system call. Should another process still hold the open file, its events are ignored.
  void closing(int fd, IoHandler& handler);

  // Runs `task` on the loop's thread; callable from any thread, in order per caller.
  void post(Task task);
  // Runs `task` after the current handler returned and before the loop blocks again: the way to delete
  // oneself, to call back without recursion, to write once for many events.
  void defer(Task task);

  // The time when the current batch of events began (no system call).
  Clock::time_point now() const;

  void run();
  void stop();  // any thread

 private:
  friend class Timer;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Calls back once, at or after its time, on the loop's thread. Re-arming moves it; destruction cancels.
// Granularity is a few milliseconds: these are time-outs, not clocks. Arming and cancelling are O(log n) or
// better and allocation-free.
class Timer {
 public:
  using Callback = std::function<void()>;
  Timer(Loop& loop, Callback callback);
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void arm(std::chrono::milliseconds delay);
  void cancel();
  bool armed() const;

 private:
  friend class Loop;
  struct Node;
  std::unique_ptr<Node> node_;
};

}  // namespace heddle::proxy
