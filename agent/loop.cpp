// SPDX-License-Identifier: Apache-2.0
#include "agent/loop.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include <fcntl.h>
#include <unistd.h>

namespace heddle::agent {
namespace asio = boost::asio;

struct Loop::Impl {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{context.get_executor()};
  asio::thread_pool background{1};
};

namespace {

constexpr std::chrono::milliseconds poll_without_epoll{10};

// What a Handle and its pending operation share: the operation may complete after the handle is gone.
struct TimerState {
  TimerState(asio::io_context& context, std::function<void()> fn) : timer(context), callback(std::move(fn)) {}
  asio::steady_timer timer;
  std::function<void()> callback;
  std::chrono::milliseconds period{0};
  bool alive = true;
};

void wait(const std::shared_ptr<TimerState>& state) {
  state->timer.async_wait([state](const boost::system::error_code& error) {
    if (error || !state->alive) return;
    if (state->period.count() > 0) {
      state->timer.expires_after(state->period);
      wait(state);
    }
    const auto callback = state->callback;  // the handle may be destroyed by it
    callback();
  });
}

class TimerHandle final : public Loop::Handle {
 public:
  explicit TimerHandle(std::shared_ptr<TimerState> state) : state_(std::move(state)) {}
  ~TimerHandle() override {
    state_->alive = false;
    state_->timer.cancel();
    state_->callback = nullptr;
  }

 private:
  std::shared_ptr<TimerState> state_;
};

struct WatchState {
  WatchState(asio::io_context& context, std::function<void()> fn)
      : descriptor(context), callback(std::move(fn)) {}
  asio::posix::stream_descriptor descriptor;
  bool owned = false;  // the descriptor is a duplicate of ours
  std::function<void()> callback;
  asio::posix::stream_descriptor::wait_type type{};
  bool alive = true;
};

void wait(const std::shared_ptr<WatchState>& state) {
  state->descriptor.async_wait(state->type, [state](const boost::system::error_code& error) {
    if (error || !state->alive) return;
    const auto callback = state->callback;
    callback();
    if (state->alive) wait(state);
  });
}

class WatchHandle final : public Loop::Handle {
 public:
  explicit WatchHandle(std::shared_ptr<WatchState> state) : state_(std::move(state)) {}
  ~WatchHandle() override {
    state_->alive = false;
    const int fd = state_->descriptor.release();  // cancels; does not close
    if (state_->owned) ::close(fd);
    state_->callback = nullptr;
  }

 private:
  std::shared_ptr<WatchState> state_;
};

struct SignalState {
  SignalState(asio::io_context& context, std::function<void(int)> fn)
      : set(context), callback(std::move(fn)) {}
  asio::signal_set set;
  std::function<void(int)> callback;
  bool alive = true;
};

void wait(const std::shared_ptr<SignalState>& state) {
  state->set.async_wait([state](const boost::system::error_code& error, int signal) {
    if (error || !state->alive) return;
    wait(state);
    state->callback(signal);
  });
}

class SignalHandle final : public Loop::Handle {
 public:
  explicit SignalHandle(std::shared_ptr<SignalState> state) : state_(std::move(state)) {}
  ~SignalHandle() override {
    state_->alive = false;
    boost::system::error_code ignored;
    // clear() alone forgets the pending wait without ending it: it would keep the state, and the state it.
    state_->set.cancel(ignored);
    state_->set.clear(ignored);
  }

 private:
  std::shared_ptr<SignalState> state_;
};

}  // namespace

Loop::Loop() : impl_(std::make_unique<Impl>()) {}

Loop::~Loop() {
  impl_->background.join();
}

void Loop::run() {
  impl_->context.run();
}
void Loop::stop() {
  impl_->context.stop();
}
void Loop::post(std::function<void()> callback) {
  asio::post(impl_->context, std::move(callback));
}
asio::io_context& Loop::context() {
  return impl_->context;
}

std::unique_ptr<Loop::Handle> Loop::after(std::chrono::milliseconds delay, std::function<void()> callback) {
  auto state = std::make_shared<TimerState>(impl_->context, std::move(callback));
  state->timer.expires_after(delay);
  wait(state);
  return std::make_unique<TimerHandle>(std::move(state));
}

std::unique_ptr<Loop::Handle> Loop::every(std::chrono::milliseconds period, std::function<void()> callback) {
  auto state = std::make_shared<TimerState>(impl_->context, std::move(callback));
  state->period = period;
  state->timer.expires_after(period);
  wait(state);
  return std::make_unique<TimerHandle>(std::move(state));
}

std::unique_ptr<Loop::Handle> Loop::watch(int fd, Ready ready, std::function<void()> callback) {
  auto state = std::make_shared<WatchState>(impl_->context, callback);
  // epoll(7) takes a descriptor once; the writable watch, rare and short, gets a duplicate.
  state->owned = ready == Ready::writable;
  const int watched = state->owned ? ::fcntl(fd, F_DUPFD_CLOEXEC, 0) : fd;
  boost::system::error_code error;
  if (watched >= 0) state->descriptor.assign(watched, error);
  if (watched < 0 || error) {
    if (state->owned && watched >= 0) ::close(watched);
    return every(poll_without_epoll, std::move(callback));  // no descriptor or memory left: slow, but alive
  }
  state->type =
      state->owned ? asio::posix::stream_descriptor::wait_write : asio::posix::stream_descriptor::wait_read;
  wait(state);
  return std::make_unique<WatchHandle>(std::move(state));
}

std::unique_ptr<Loop::Handle> Loop::on_signals(const std::vector<int>& signals,
                                               std::function<void(int)> callback) {
  auto state = std::make_shared<SignalState>(impl_->context, std::move(callback));
  for (const int signal : signals) state->set.add(signal);
  wait(state);
  return std::make_unique<SignalHandle>(std::move(state));
}

void Loop::background(std::function<void()> work, std::function<void()> done) {
  asio::post(impl_->background, [this, work = std::move(work), done = std::move(done)]() mutable {
    work();
    post(std::move(done));
  });
}

}  // namespace heddle::agent
