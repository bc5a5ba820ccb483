// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace heddle::agent {

// The agent's main thread: timers, descriptor readiness, signals, and a background thread for what may block
// on a disk. The one place that hides Boost.Asio, so that the rest compiles without it. All callbacks run in
// run().
class Loop {
 public:
  // Cancels its callback when destroyed; destroying it inside the callback is fine.
  class Handle {
   public:
    virtual ~Handle() = default;
  };
  enum class Ready { readable, writable };

  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void run();
  // Makes run() return. Any thread.
  void stop();
  // Any thread.
  void post(std::function<void()> callback);
  [[nodiscard]] std::unique_ptr<Handle> after(std::chrono::milliseconds delay,
                                              std::function<void()> callback);
  [[nodiscard]] std::unique_ptr<Handle> every(std::chrono::milliseconds period,
                                              std::function<void()> callback);
  // Level-triggered: calls again as long as the descriptor stays ready. The descriptor must outlive the
  // handle and stays the caller's.
  [[nodiscard]] std::unique_ptr<Handle> watch(int fd, Ready ready, std::function<void()> callback);
  [[nodiscard]] std::unique_ptr<Handle> on_signals(const std::vector<int>& signals,
                                                   std::function<void(int)> callback);
  // `work` on the background thread, one at a time and in order; then `done` on the loop.
  void background(std::function<void()> work, std::function<void()> done);

  boost::asio::io_context& context();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace heddle::agent
