// SPDX-License-Identifier: Apache-2.0
#include "proxy/io/loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "base/fd.h"
#include "proxy/io/timer_heap.h"

namespace heddle::proxy {
namespace {

constexpr int events_per_wait = 256;
constexpr int most_unmeasured = 8;  // pieces of one share's work, as long as nobody else has any
constexpr int most_looks = 4;       // at the descriptors before deferred work, beside the first
using Events = std::array<epoll_event, events_per_wait>;
constexpr std::uint32_t own_generation = ~0u;  // no watch ever has it: marks the loop's own descriptors
enum : std::uint64_t { wake_event, alarm_event };
// Waits of so long, which are almost all, leave the time to the alarm: a time-out of epoll_wait is set up and
// taken down with each wait, 0.5 us and more.
constexpr std::chrono::milliseconds alarm_from{20};

}  // namespace

struct Loop::Impl {
  // Who watches a descriptor, indexed by it. The generation tells an event of this watch from one that was
  // fetched for an earlier watch of the same number.
  struct Watch {
    IoHandler* handler = nullptr;
    std::uint32_t generation = 0;
    std::uint32_t pending = 0;  // events that wait for the share's turn: queued when there are any
    ShareRef share;
    int next = -1;
    int previous = -1;
  };
  // What is deferred counts for the share on whose behalf that was done.
  struct Deferred {
    Task task;
    ShareRef share;
  };

  Fd epoll;
  Fd wake;
  Fd alarm;  // rings at `alarm_at`
  Clock::time_point alarm_at =
      Clock::time_point::max();                // never later than the first timer, if that is far away
  bool woken = false;                          // something may have been posted
  std::vector<std::unique_ptr<Share>> shares;  // before everything that holds some
  std::vector<Watch> watches;
  std::vector<Deferred> deferred;
  std::vector<Deferred> running_tasks;
  FairRing ready;
  Share* current = nullptr;
  Clock::time_point current_since;  // of the share that is being served
  bool serving = false;
  bool again = false;            // what was asked for by the deferred task that runs
  const Share* last = nullptr;   // that was served, only to be compared
  Clock::time_point switched{};  // when it was another one
  TimerHeap timers;
  Clock::time_point now = Clock::now();
  bool running = false;

  std::mutex mutex;  // guards `posted`
  std::vector<Task> posted;
  std::vector<Task> running_posts;
  std::atomic<bool> stopping{false};

  Result<> control(int operation, int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = (std::uint64_t{watches[static_cast<std::size_t>(fd)].generation} << 32) |
                     static_cast<std::uint32_t>(fd);
    if (::epoll_ctl(epoll.get(), operation, fd, &event) != 0) {
      return make_errno(errno, "epoll_ctl on descriptor " + std::to_string(fd));
    }
    return {};
  }

  // False when the handler does not watch the descriptor. Events that were fetched already, or that a copy of
  // the descriptor still brings, are of a past generation from now on.
  bool forget(int fd, const IoHandler& handler) {
    const auto index = static_cast<std::size_t>(fd);
    if (fd < 0 || index >= watches.size() || watches[index].handler != &handler) return false;
    unqueue(fd);
    watches[index].handler = nullptr;
    watches[index].share = {};
    ++watches[index].generation;
    return true;
  }

  void queue(int fd, std::uint32_t events) {
    Watch& watch = watches[static_cast<std::size_t>(fd)];
    if (std::exchange(watch.pending, watch.pending | events) != 0) return;
    Share& share = *watch.share.get();
    watch.next = -1;
    watch.previous = share.last_;
    (share.last_ >= 0 ? watches[static_cast<std::size_t>(share.last_)].next : share.first_) = fd;
    share.last_ = fd;
    ready.add(share);
  }

  // Its events, which are queued no longer.
  std::uint32_t unqueue(int fd) {
    Watch& watch = watches[static_cast<std::size_t>(fd)];
    if (watch.pending == 0) return 0;
    Share& share = *watch.share.get();
    (watch.previous >= 0 ? watches[static_cast<std::size_t>(watch.previous)].next : share.first_) =
        watch.next;
    (watch.next >= 0 ? watches[static_cast<std::size_t>(watch.next)].previous : share.last_) = watch.previous;
    return std::exchange(watch.pending, 0);
  }

  void ring() {
    const std::uint64_t one = 1;
    // EAGAIN means that the counter is at its top: the loop is awake anyway.
    [[maybe_unused]] const ssize_t written = ::write(wake.get(), &one, sizeof one);
  }

  // How many events there are; 0 when a signal came.
  int wait(Events& events, int milliseconds) const {
    const int count = ::epoll_wait(epoll.get(), events.data(), events_per_wait, milliseconds);
    if (count < 0 && errno != EINTR) throw std::runtime_error("epoll_wait: " + make_errno(errno).message());
    return std::max(count, 0);
  }

  void dispatch(const Events& events, int count) {
    for (int i = 0; i < count; ++i) dispatch(events[static_cast<std::size_t>(i)]);
  }

  void dispatch(const epoll_event& event) {
    const auto generation = static_cast<std::uint32_t>(event.data.u64 >> 32);
    const auto fd = static_cast<std::size_t>(event.data.u64 & 0xffffffffu);
    if (generation == own_generation) return fd == wake_event ? wake_up() : alarm_rang();
    const Watch& watch = watches[fd];
    if (watch.handler == nullptr || watch.generation != generation) return;
    if (watch.share && shares.size() > 1) return queue(static_cast<int>(fd), event.events);
    current = watch.share.get();
    watch.handler->on_io(event.events);
    current = nullptr;
  }

  void wake_up() {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(wake.get(), &count, sizeof count);
    woken = true;
  }

  // One piece of the share's work.
  void serve(Share& share) {
    const ShareRef kept(&share);
    current = &share;
    if (share.unwinds()) {
      unwind(share);
    } else {
      serve_new(share);
    }
    current = nullptr;
  }

  // What goes on and what is new by turns, that neither starves.
  void serve_new(Share& share) {
    if (!share.tasks_.empty()) {
      const Task task = std::move(share.tasks_.front());
      share.tasks_.pop_front();
      task();
    }
    if (const int fd = share.first_; fd >= 0) {
      const std::uint32_t events = unqueue(fd);
      watches[static_cast<std::size_t>(fd)].handler->on_io(events);
    }
  }

  // One round, as in run_deferred().
  static void begin_to_unwind(Share& share) {
    if (!share.unwinds()) share.unwinding_.swap(share.deferred_);
  }

  void unwind(Share& share) {
    Task task = std::move(share.unwinding_[share.unwound_]);
    again = false;
    task();
    if (std::exchange(again, false)) {
      share.unwinding_[share.unwound_] = std::move(task);
    } else if (++share.unwound_ == share.unwinding_.size()) {
      share.unwound_ = 0;
      clear(share.unwinding_);
    }
  }

  // A burst's capacity is not kept.
  template <class Tasks>
  static void clear(Tasks& tasks) {
    tasks.clear();
    if (tasks.capacity() > 4096) tasks.shrink_to_fit();
  }

  bool contended_lately() const { return ready.contended() || current_since - switched < contention; }

  // What shares have to do, until a turn's time is over. Who is alone waits with what it deferred until `all`
  // is to be done: more may come that is written with it. By then that goes before what is new, or it might
  // wait for ever.
  void serve_shares(bool all) {
    if (ready.empty()) return;
    // Little work of one share alone is not measured, as nobody waits for it.
    int unmeasured = 0;
    current_since = now;
    if (contended_lately()) current_since = Clock::now();
    const bool alone = !contended_lately();
    const auto end = current_since + (alone ? turn_alone : turn);
    bool gathered = alone && all;
    serving = true;
    while (FairRing::Member* next = ready.next()) {
      Share& share = static_cast<Share&>(*next);
      if (const Share* before = std::exchange(last, &share); before != nullptr && before != &share) {
        switched = current_since;
      }
      if (!share.has_new()) {
        if (!all && !share.unwinds() && !ready.contended()) break;
        begin_to_unwind(share);
      } else if (std::exchange(gathered, false)) {
        begin_to_unwind(share);
      }
      serve(share);
      if (!contended_lately() && ++unmeasured < most_unmeasured) {
        if (share.idle()) ready.remove(share);
        continue;
      }
      unmeasured = 0;
      const auto later = Clock::now();
      ready.charge(share, later - current_since);
      if (share.idle()) ready.remove(share);
      if (share.credit() <= FairRing::Time{0} && contended_lately()) begin_to_unwind(share);
      current_since = later;
      if (later >= end) break;
    }
    serving = false;
  }

  void forget_unused_shares() {
    std::erase_if(shares,
                  [](const std::unique_ptr<Share>& share) { return share->holders_ == 0 && share->idle(); });
  }

  void run_posted() {
    if (!std::exchange(woken, false)) return;
    {
      const std::lock_guard lock(mutex);
      running_posts.swap(posted);
    }
    for (Task& task : running_posts) task();
    running_posts.clear();
  }

  // One round only: what these defer runs after the next look at the descriptors, so that a connection that
  // goes on by deferring cannot starve the others.
  void run_deferred() {
    running_tasks.swap(deferred);
    for (Deferred& each : running_tasks) {
      current = each.share.get();
      each.task();
    }
    current = nullptr;
    clear(running_tasks);
  }

  // How many milliseconds epoll may wait; -1: until something happens, the alarm at the latest.
  int wait_time() {
    if (!deferred.empty() || !ready.empty()) return 0;
    const auto next = timers.next();
    if (!next) return -1;
    if (*next - now >= alarm_from && set_alarm(*next)) return -1;
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(*next - Clock::now());
    return static_cast<int>(std::clamp<long long>(wait.count(), 0, 60'000));
  }

  // An alarm that rings too early is set anew then: timers are moved away far more often than they are waited
  // for.
  bool set_alarm(Clock::time_point at) {
    if (alarm_at <= at) return true;
    const auto since_boot = at.time_since_epoch();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_boot);
    itimerspec when{};
    when.it_value.tv_sec = seconds.count();
    when.it_value.tv_nsec = std::chrono::nanoseconds(since_boot - seconds).count();
    if (::timerfd_settime(alarm.get(), TFD_TIMER_ABSTIME, &when, nullptr) != 0) return false;
    alarm_at = at;
    return true;
  }

  // Nothing is read: epoll tells of the next time by itself (EPOLLET), as setting the alarm clears what has
  // passed.
  void alarm_rang() { alarm_at = Clock::time_point::max(); }

  bool watch_own(const Fd& fd, std::uint32_t events, std::uint64_t which) const {
    epoll_event event{};
    event.events = events;
    event.data.u64 = (std::uint64_t{own_generation} << 32) | which;
    return fd && ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd.get(), &event) == 0;
  }
};

Loop::Loop() : impl_(std::make_unique<Impl>()) {
  impl_->epoll.reset(::epoll_create1(EPOLL_CLOEXEC));
  impl_->wake.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  impl_->alarm.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!impl_->epoll || !impl_->watch_own(impl_->wake, EPOLLIN, wake_event) ||
      !impl_->watch_own(impl_->alarm, EPOLLIN | EPOLLET, alarm_event)) {
    throw std::runtime_error("cannot create an event loop: " + make_errno(errno).message());
  }
}

Loop::~Loop() {
  // What tasks hold may want to forget its descriptors.
  for (const auto& share : impl_->shares) {
    share->tasks_.clear();
    share->unwinding_.clear();
    share->deferred_.clear();
  }
}

Result<> Loop::add(int fd, std::uint32_t events, IoHandler& handler) {
  return add(fd, events, handler, ShareRef(impl_->current));
}

Result<> Loop::add(int fd, std::uint32_t events, IoHandler& handler, ShareRef share) {
  if (fd < 0) return make_errno(EBADF, "epoll_ctl");
  const auto index = static_cast<std::size_t>(fd);
  if (impl_->watches.size() <= index) impl_->watches.resize(std::max<std::size_t>(64, index + index / 2 + 1));
  Impl::Watch& watch = impl_->watches[index];
  if (++watch.generation == own_generation) watch.generation = 1;
  impl_->unqueue(fd);
  watch.handler = &handler;
  watch.share = std::move(share);
  auto done = impl_->control(EPOLL_CTL_ADD, fd, events);
  if (!done) impl_->forget(fd, handler);
  return done;
}

Result<> Loop::modify(int fd, std::uint32_t events, IoHandler& handler) {
  if (fd < 0 || static_cast<std::size_t>(fd) >= impl_->watches.size()) return make_errno(EBADF, "epoll_ctl");
  impl_->watches[static_cast<std::size_t>(fd)].handler = &handler;
  return impl_->control(EPOLL_CTL_MOD, fd, events);
}

void Loop::remove(int fd, IoHandler& handler) {
  if (!impl_->forget(fd, handler)) return;
  epoll_event unused{};
  ::epoll_ctl(impl_->epoll.get(), EPOLL_CTL_DEL, fd, &unused);
}

void Loop::closing(int fd, IoHandler& handler) {
  impl_->forget(fd, handler);
}

void Loop::post(Task task) {
  bool first = false;
  {
    const std::lock_guard lock(impl_->mutex);
    first = impl_->posted.empty();
    impl_->posted.push_back(std::move(task));
  }
  if (first) impl_->ring();
}

void Loop::defer(Task task) {
  Share* share = impl_->current;
  if (share == nullptr || !shared()) {
    impl_->deferred.push_back({std::move(task), ShareRef(share)});
    return;
  }
  share->deferred_.push_back(std::move(task));
  impl_->ready.add(*share);
}

void Loop::again() {
  impl_->again = true;
}

void Loop::go_on(Task task) {
  Share* share = impl_->current;
  if (share == nullptr || !shared()) return defer(std::move(task));
  share->tasks_.push_back(std::move(task));
  impl_->ready.add(*share);
}

ShareRef Loop::share(std::uint64_t key, std::uint32_t weight) {
  for (const auto& each : impl_->shares) {
    if (each->key_ != key) continue;
    each->weight = weight;
    return ShareRef(each.get());
  }
  impl_->forget_unused_shares();
  impl_->shares.push_back(std::make_unique<Share>(key));
  impl_->shares.back()->weight = weight;
  return ShareRef(impl_->shares.back().get());
}

Share* Loop::current() const {
  return impl_->current;
}

bool Loop::shared() const {
  return impl_->shares.size() > 1;
}

bool Loop::used_up() const {
  if (!impl_->serving || impl_->current == nullptr) return false;
  const auto may = std::min<FairRing::Time>(impl_->current->credit(), turn);
  return Clock::now() - impl_->current_since >= may;
}

Loop::OnBehalf::OnBehalf(Loop& loop, Share* share)
    : loop_(loop), before_(std::exchange(loop.impl_->current, share)) {}

Loop::OnBehalf::~OnBehalf() {
  loop_.impl_->current = before_;
}

Loop::Clock::time_point Loop::now() const {
  return impl_->running ? impl_->now : Clock::now();
}

void Loop::run() {
  Events events;
  impl_->now = Clock::now();
  impl_->running = true;
  while (!impl_->stopping.load(std::memory_order_acquire)) {
    int count = impl_->wait(events, impl_->wait_time());
    impl_->now = Clock::now();
    impl_->dispatch(events, count);
    impl_->serve_shares(count <= 1);
    // Where several are ready more become so meanwhile: what is deferred, writes above all, then serves them
    // together.
    for (int looks = 0; count > 1 && looks < most_looks; ++looks) {
      count = impl_->wait(events, 0);
      impl_->dispatch(events, count);
      impl_->serve_shares(false);
    }
    impl_->run_posted();
    impl_->timers.run(impl_->now);
    impl_->run_deferred();
    impl_->serve_shares(true);
  }
  impl_->running = false;
  impl_->stopping.store(false, std::memory_order_release);
}

void Loop::stop() {
  impl_->stopping.store(true, std::memory_order_release);
  impl_->ring();
}

struct Timer::Node : TimerNode {
  explicit Node(Loop& owner) : loop(owner) {}
  Loop& loop;
};

Timer::Timer(Loop& loop, Callback callback) : node_(std::make_unique<Node>(loop)) {
  node_->callback = std::move(callback);
  loop.impl_->timers.expect_one_more();
}

Timer::~Timer() {
  TimerHeap& timers = node_->loop.impl_->timers;
  timers.forget(*node_);
  timers.expect_one_less();
}

void Timer::arm(std::chrono::milliseconds delay) {
  // At least a millisecond: a callback that arms itself with 0 must not be run again within the same round.
  const auto wait = std::max(delay, std::chrono::milliseconds(1));
  node_->loop.impl_->timers.arm(*node_, node_->loop.now() + wait);
}

void Timer::cancel() {
  node_->armed = false;
}

bool Timer::armed() const {
  return node_->armed;
}

}  // namespace heddle::proxy
