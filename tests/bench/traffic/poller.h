// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/fd.h"
#include "base/ip.h"

namespace heddle::bench {

// CLOCK_MONOTONIC in nanoseconds.
std::uint64_t now_ns();
// Prints `what` and errno, ends the program with 1.
[[noreturn]] void fail(const char* what);

// Who waits for a descriptor. Must live until it is retired or its descriptor is closed between two rounds.
class Handler {
 public:
  virtual ~Handler() = default;
  // `events` as epoll_wait(2) gives them.
  virtual void ready(std::uint32_t events) = 0;
};

// epoll on the calling thread: nothing that a load program or a server does not need, so that little of what
// is measured is its own.
class Poller {
 public:
  Poller();
  void add(int fd, std::uint32_t events, Handler& handler);
  void change(int fd, std::uint32_t events, Handler& handler);
  // Keeps a handler that is done with until the current round's other events have been given out.
  void retire(std::unique_ptr<Handler> handler) { retired_.push_back(std::move(handler)); }
  // Waits until `deadline` (now_ns()) at most and hands out what is ready.
  void run_once(std::uint64_t deadline);
  // For ever.
  [[noreturn]] void run();

 private:
  Fd epoll_;
  std::array<epoll_event, 256> events_{};
  std::vector<std::unique_ptr<Handler>> retired_;
};

// A listening, non-blocking socket.
Fd listen_at(const SocketAddress& at);
// A non-blocking socket that connects, without Nagle's delay; none when the kernel refused (errno says why).
Fd dial(const SocketAddress& to);
// What became of a connect(2): 0 or an errno.
int connect_error(int fd);
// Non-blocking, without Nagle's delay; none when nobody waits.
Fd accept_one(int listener);

}  // namespace heddle::bench
