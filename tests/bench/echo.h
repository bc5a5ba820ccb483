// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>

#include "base/fd.h"

namespace heddle::bench {

// An echo server on a thread of its own; it takes connected sockets.
class EchoServer {
 public:
  virtual ~EchoServer() = default;
  virtual void add(Fd socket) = 0;
  // CPU that its thread has used so far, in nanoseconds.
  virtual double cpu_ns() = 0;
  // Waits until everything added before is being served.
  virtual void settle() = 0;
};

std::unique_ptr<EchoServer> make_asio_echo();

}  // namespace heddle::bench
