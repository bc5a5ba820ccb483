// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "tests/bench/traffic/figures.h"
#include "tests/bench/traffic/poller.h"

namespace heddle::bench {

// Tells where an answer ends.
class Answer {
 public:
  virtual ~Answer() = default;
  virtual void begin() = 0;
  // 1: complete; 0: more must come; -1: not what was expected.
  virtual int take(std::string_view bytes) = 0;
};

// A number of bytes.
class SizedAnswer final : public Answer {
 public:
  explicit SizedAnswer(std::size_t size) : size_(size), left_(size) {}
  void begin() override { left_ = size_; }
  int take(std::string_view bytes) override;

 private:
  std::size_t size_;
  std::size_t left_;
};

// HTTP/1.1, 200, with content-length.
class Http1Answer final : public Answer {
 public:
  void begin() override;
  int take(std::string_view bytes) override;

 private:
  int take_head();

  std::string head_;
  bool in_content_ = false;
  std::uint64_t left_ = 0;
};

// One connection that sends a request and awaits its answer, again and again. `answered` and `broken` are
// called from ready(); the connection is idle then, or has no descriptor any more.
class Exchange final : public Handler {
 public:
  struct Events {
    std::function<void(Exchange&)> connected;
    std::function<void(Exchange&)> answered;
    std::function<void(Exchange&, const char* why)> broken;
  };
  Exchange(Poller& poller, const SocketAddress& to, std::string_view request, std::unique_ptr<Answer> answer,
           const Events& events)
      : poller_(poller), to_(to), request_(request), answer_(std::move(answer)), events_(events) {}

  void connect();
  // `due` is when it should have been sent: what the latency counts from.
  void send(std::uint64_t due);
  void close() { fd_.reset(); }
  bool idle() const { return state_ == State::idle; }
  // Of the request that was answered last.
  std::uint64_t due() const { return due_; }
  // When the next one is to be sent, for whoever sends at a rate.
  std::uint64_t next_due = 0;

  void ready(std::uint32_t events) override;

 private:
  enum class State { closed, connecting, idle, waiting };
  void break_off(const char* why);

  Poller& poller_;
  SocketAddress to_;
  std::string_view request_;
  std::unique_ptr<Answer> answer_;
  const Events& events_;
  Fd fd_;
  State state_ = State::closed;
  std::uint64_t due_ = 0;
};

}  // namespace heddle::bench
