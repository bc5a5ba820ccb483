// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/ip.h"
#include "proxy/io/loop.h"
#include "proxy/pods/node_pods.h"

namespace heddle::proxy {

struct Worker;

// What the acceptors of one worker share: the pause when descriptors or memory run out. Pausing leaves
// connections in the kernel's queue, where they wait instead of failing.
class AcceptPause {
 public:
  explicit AcceptPause(Loop& loop);
  bool active() const { return active_; }
  // Stops accepting for a short while: `pause` now, `resume` then. Both are set by the owner of the
  // acceptors.
  void begin(int error);
  // Whether accepting this one came near the process' limit of descriptors, whose numbers are given from the
  // lowest on: the ceiling is looked at only now and then, and must be met by who uses most, not by
  // everybody.
  bool comes_near_limit(int socket);
  std::function<void()> pause;
  std::function<void()> resume;

 private:
  Loop& loop_;
  Timer timer_;
  bool active_ = false;
  bool logged_ = false;
  int highest_ = 0;  // descriptor so far
};

// One pod's listeners on one worker. The descriptors are shared with the other workers; EPOLLEXCLUSIVE wakes
// one.
class Acceptor {
 public:
  Acceptor(Worker& worker, AcceptPause& pause, PodRef pod, std::shared_ptr<PodListeners> listeners);
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // Begins, or begins again after a pause. Errors: epoll_ctl(2)'s.
  Result<> listen();
  void pause();
  // A changed description of the same pod: for the connections to come.
  void update(PodRef pod);
  const std::shared_ptr<PodListeners>& listeners() const { return listeners_; }

 private:
  struct Side final : IoHandler {
    Acceptor* acceptor = nullptr;
    bool outbound = false;
    bool watched = false;
    std::unique_ptr<Timer> waiting;  // armed: the pod has to wait until more is accepted from it
    unsigned alone = 0;              // wake-ups in a row that were not looked at for more than one connection
    void on_io(std::uint32_t) override { acceptor->accept_some(*this); }
  };

  int descriptor(bool outbound) const;
  Result<> watch(Side& side);
  void unwatch(Side& side);
  void accept_some(Side& side);
  bool may_accept(Side& side);
  AcceptRate& rate(const Side& side) const;
  void wait(Side& side, std::chrono::nanoseconds time);
  void accepted(int socket, const SocketAddress& client, bool outbound);
  void refuse(int socket, bool outbound, const char* reason);

  Worker& worker_;
  AcceptPause& pause_;
  PodRef pod_;
  ShareRef share_;
  std::shared_ptr<PodListeners> listeners_;
  Side outbound_;
  Side inbound_;
};

}  // namespace heddle::proxy
