// SPDX-License-Identifier: Apache-2.0
#include "proxy/program/drain.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace heddle::proxy {
namespace {

// Shorter than what kubelet is told to leave beyond the grace (a minute), and about as long as a connection
// waits for an endpoint or a socket.
constexpr std::chrono::milliseconds most_put_off{50'000};
constexpr std::chrono::milliseconds waiting_look{100};
constexpr std::chrono::milliseconds answer_time{1'000};

}  // namespace

Drain::Drain(Loop& loop, std::vector<Lane*> lanes, Done done)
    : loop_(loop),
      lanes_(std::move(lanes)),
      done_(std::move(done)),
      grace_timer_(loop, [this] { grace_over(); }),
      idle_timer_(loop, [this] {
        for (Lane* lane : lanes_) lane->end_idle();
      }) {}

void Drain::begin(std::chrono::milliseconds grace, std::chrono::milliseconds idle) {
  const auto end = loop_.now() + grace;
  if (begun_ && (over_ || end >= end_)) return;
  end_ = end;
  grace_timer_.arm(grace);
  idle_timer_.arm(std::min(idle, grace));
  if (std::exchange(begun_, true)) return;
  busy_ = lanes_.size();
  for (Lane* lane : lanes_) {
    lane->drain([this] { loop_.post([this] { one_is_empty(); }); });
  }
}

void Drain::one_is_empty() {
  if (--busy_ > 0 || over_) return;
  over_ = true;
  grace_timer_.cancel();
  idle_timer_.cancel();
  done_(0);
}

void Drain::grace_over() {
  if (over_ || counting_ != 0) return;
  waiting_ = 0;
  counting_ = lanes_.size();
  for (Lane* lane : lanes_)
    lane->count_waiting(
        [this](std::size_t waiting) { loop_.post([this, waiting] { one_counted(waiting); }); });
}

// What has just found its upstream gets the time for an answer.
void Drain::one_counted(std::size_t waiting) {
  waiting_ += waiting;
  if (--counting_ > 0 || over_) return;
  if (waiting_ != 0 && loop_.now() < end_ + most_put_off) {
    if (!std::exchange(waited_, true))
      spdlog::info("drain goes on, connections wait for an upstream waiting={} longest_ms={}", waiting_,
                   most_put_off.count());
    return grace_timer_.arm(waiting_look);
  }
  if (std::exchange(waited_, false)) return grace_timer_.arm(answer_time);
  cut();
}

void Drain::cut() {
  if (std::exchange(over_, true)) return;
  cutting_ = lanes_.size();
  for (Lane* lane : lanes_) {
    lane->cut(
        [this](std::size_t connections) { loop_.post([this, connections] { one_was_cut(connections); }); });
  }
}

void Drain::one_was_cut(std::size_t connections) {
  connections_cut_ += connections;
  if (--cutting_ == 0) done_(connections_cut_);
}

}  // namespace heddle::proxy
