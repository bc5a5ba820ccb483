// SPDX-License-Identifier: Apache-2.0
#include "proxy/program/drain.h"

#include <algorithm>

namespace heddle::proxy {

Drain::Drain(Loop& loop, std::vector<Lane*> lanes, Done done)
    : loop_(loop),
      lanes_(std::move(lanes)),
      done_(std::move(done)),
      grace_timer_(loop, [this] { cut(); }),
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
