// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <vector>

#include "proxy/io/loop.h"
#include "proxy/listen/lane.h"

namespace heddle::proxy {

// Ends all workers' service in order: no new connections, the running ones may finish until the grace is
// over, then they are reset. Those that wait for an upstream then, because another node's proxy or this
// node's agent is replaced at the same time, put the end off by 50 s at most. On the link's loop.
class Drain {
 public:
  using Done = std::function<void(std::size_t connections_cut)>;
  Drain(Loop& loop, std::vector<Lane*> lanes, Done done);

  // `idle`: for how long HTTP connections without a request are left open. Each is closed after its next
  // request; a client that is told of the end only by an idle connection's FIN may be sending meanwhile. A
  // second call can only shorten the grace.
  void begin(std::chrono::milliseconds grace, std::chrono::milliseconds idle);
  bool begun() const { return begun_; }

 private:
  void one_is_empty();
  void grace_over();
  void one_counted(std::size_t waiting);
  void cut();
  void one_was_cut(std::size_t connections);

  Loop& loop_;
  std::vector<Lane*> lanes_;
  Done done_;
  Timer grace_timer_;
  Timer idle_timer_;
  std::chrono::steady_clock::time_point end_;
  std::size_t busy_ = 0;
  std::size_t counting_ = 0;  // lanes that have not said how much waits
  std::size_t waiting_ = 0;
  bool waited_ = false;  // something did when last looked
  std::size_t cutting_ = 0;
  std::size_t connections_cut_ = 0;
  bool begun_ = false;
  bool over_ = false;
};

}  // namespace heddle::proxy
