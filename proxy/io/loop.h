// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/result.h"
#include "proxy/io/fair_ring.h"

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

// On whose behalf a loop works: one pod's work, which gets its part of the loop's time and no more while
// others have some. Made by Loop::share(), used on the loop's thread.
class Share : private FairRing::Member {
 public:
  explicit Share(std::uint64_t key) : key_(key) {}
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;
  using FairRing::Member::weight;

 private:
  friend class Loop;
  friend class ShareRef;
  const std::uint64_t key_;
  std::uint32_t holders_ = 0;
  // Descriptors with undelivered events, in order: the first and the last; see Loop::Impl::Watch.
  int first_ = -1;
  int last_ = -1;
  bool has_new() const { return first_ >= 0 || !tasks_.empty(); }
  bool unwinds() const { return !unwinding_.empty(); }
  bool idle() const { return !has_new() && !unwinds() && deferred_.empty(); }
  // What goes on: see Loop::go_on().
  std::deque<std::function<void()>> tasks_;
  // What was deferred: gathered, and from `unwound_` on being run, before anything new.
  std::vector<std::function<void()>> deferred_;
  std::vector<std::function<void()>> unwinding_;
  std::size_t unwound_ = 0;
};

// Keeps a Share, or nobody's. One thread, like the Share.
class ShareRef {
 public:
  ShareRef() = default;
  explicit ShareRef(Share* share) : share_(share) {
    if (share_ != nullptr) ++share_->holders_;
  }
  ~ShareRef() {
    if (share_ != nullptr) --share_->holders_;
  }
  ShareRef(const ShareRef& other) : ShareRef(other.share_) {}
  ShareRef(ShareRef&& other) noexcept : share_(std::exchange(other.share_, nullptr)) {}
  ShareRef& operator=(ShareRef other) noexcept {
    std::swap(share_, other.share_);
    return *this;
  }
  Share* get() const { return share_; }
  Share* operator->() const { return share_; }
  explicit operator bool() const { return share_ != nullptr; }

 private:
  Share* share_ = nullptr;
};

// A worker's event loop: epoll(7), timers, and work posted from other threads. One thread runs it; every
// member but post() and stop() belongs to that thread.
//
// Descriptors belong to shares, and events are delivered by deficit round robin over those: a pod with a
// thousand ready connections does not delay another's one. What a turn has no time for stays queued, at most
// once per descriptor, and the kernel is asked anew in between, so that who seldom has work is noticed soon.
// What handlers defer is their share's work too: it follows when the share has no more events or has used
// what it may, and before any new ones, so that nobody's answer waits for what another has gathered. With one
// share or none events are delivered as they come.
class Loop {
 public:
  using Task = std::function<void()>;
  using Clock = std::chrono::steady_clock;
  // How long shares are served before it is looked what else is ready, and after which a piece of work that
  // can be cut is.
  static constexpr std::chrono::microseconds turn{25};
  // The same while one of them alone has work, which gathers more answers in a write.
  static constexpr std::chrono::microseconds turn_alone{100};
  // How long after two shares had work it is looked that often.
  static constexpr std::chrono::milliseconds contention{100};

  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // Watches a descriptor; `events` as in epoll_ctl(2), EPOLLET (or EPOLLEXCLUSIVE for listeners) included by
  // the caller. The handler must outlive the watch.
  // It belongs to the share that is served now.
  Result<> add(int fd, std::uint32_t events, IoHandler& handler);
  Result<> add(int fd, std::uint32_t events, IoHandler& handler, ShareRef share);
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

  // For a deferred task that has used_up() what it may: it runs once more, before anything new of its share.
  void again();

  // As defer() for the next piece of a work without an end (bytes that keep coming): it waits until it is the
  // current share's turn.
  void go_on(Task task);

  // The share of that name, made when there is none, with this weight from now on (FairRing::usual_weight).
  // It lives while anybody has it.
  ShareRef share(std::uint64_t key, std::uint32_t weight = FairRing::usual_weight);
  // On whose behalf the current handler or task runs; nobody's for timers and what is posted.
  Share* current() const;
  // More than one share exists: somebody may wait for the current one.
  bool shared() const;
  // The current share has used what it may: who could go on with many things returns, and goes on later.
  bool used_up() const;

  // Whatever runs while it lives counts for that share.
  class OnBehalf {
   public:
    OnBehalf(Loop& loop, Share* share);
    ~OnBehalf();
    OnBehalf(const OnBehalf&) = delete;
    OnBehalf& operator=(const OnBehalf&) = delete;

   private:
    Loop& loop_;
    Share* const before_;
  };

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
