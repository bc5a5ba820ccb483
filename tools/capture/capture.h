// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "base/fd.h"
#include "base/result.h"
#include "tools/capture/packet.h"

namespace heddle::tools {

// A packet socket on one interface of a network namespace (packet(7)): copies of everything that passes, both
// directions, large segments as the stack made them.
Result<Fd> open_capture(int netns, const std::string& interface);

// Reads one frame (blocking up to 100 ms) into `buffer`; empty when none came. The view is valid until the
// next call.
std::string_view read_frame(int socket, std::string& buffer);

// Packets the kernel had to drop since the last call (PACKET_STATISTICS).
unsigned dropped_frames(int socket);

// Captures on a thread of its own from start() to stop().
class WireCapture {
 public:
  static Result<std::unique_ptr<WireCapture>> start(int netns, const std::string& interface,
                                                    const std::string& look_for);
  ~WireCapture();
  // Ends the capture; everything that had passed by now is included.
  const WireSummary& stop();
  unsigned dropped() const { return dropped_; }

 private:
  WireCapture() = default;
  void work();
  Fd socket_;
  WireSummary summary_;
  std::atomic<bool> stopping_{false};
  unsigned dropped_ = 0;
  std::thread thread_;
};

}  // namespace heddle::tools
