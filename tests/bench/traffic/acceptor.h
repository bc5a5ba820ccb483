// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "tests/bench/traffic/poller.h"

namespace heddle::bench {

// Takes all connections that wait and hands them out.
class Acceptor final : public Handler {
 public:
  Acceptor(Poller& poller, const SocketAddress& at, std::function<void(Fd)> taken)
      : listener_(listen_at(at)), taken_(std::move(taken)) {
    poller.add(listener_.get(), EPOLLIN, *this);
  }
  void ready(std::uint32_t /*events*/) override {
    while (Fd fd = accept_one(listener_.get())) taken_(std::move(fd));
  }

 private:
  Fd listener_;
  std::function<void(Fd)> taken_;
};

}  // namespace heddle::bench
