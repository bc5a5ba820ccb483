// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unordered_map>

#include "proxy/io/loop.h"
#include "proxy/listen/acceptor.h"
#include "proxy/listen/lane.h"

namespace heddle::proxy {

struct Worker;
class BrokeredDialer;

// The Lane of a real worker: its pods, acceptors and reserve of sockets. Made and destroyed while the
// worker's thread does not run; `pods` and `dialer` are the worker's own.
class WorkerLane final : public Lane {
 public:
  WorkerLane(Worker& worker, NodePods& pods, BrokeredDialer& dialer);
  ~WorkerLane() override;

  void upsert(PodRef pod, std::shared_ptr<PodListeners> listeners,
              std::function<void(const std::string&)> done) override;
  void retire(std::uint32_t id, std::uint64_t netns_cookie) override;
  void remove(std::uint32_t id, std::uint64_t netns_cookie) override;
  void sockets(std::uint32_t pod_id, bool ipv6, std::vector<Fd> sockets, std::string error) override;
  void agent_ready() override;
  void drain(std::function<void()> empty) override;
  void end_idle() override;
  void count_waiting(std::function<void(std::size_t)> done) override;
  void cut(std::function<void(std::size_t)> done) override;
  // The pod has to use less: its connections end when they wait for a request or as soon as they do, and so
  // many of its youngest at once.
  void shed(std::uint32_t id, std::size_t resets);

 private:
  // The same, on the worker's thread.
  std::string serve(const PodRef& pod, std::shared_ptr<PodListeners> listeners);
  void begin_retiring(std::uint32_t id, std::uint64_t netns_cookie);
  void stop_accepting(std::uint32_t id);
  void forget(std::uint32_t id, std::uint64_t netns_cookie);
  void begin_drain();
  bool is_empty() const;
  void look_whether_empty();
  void resume();

  Worker& worker_;
  NodePods& pods_;
  BrokeredDialer& dialer_;
  AcceptPause pause_;
  std::unordered_map<std::uint32_t, std::unique_ptr<Acceptor>> acceptors_;
  // Released pods, and for how long what was on its way to their listeners is taken.
  struct Retired {
    std::uint64_t netns_cookie = 0;
    std::unique_ptr<Timer> last_arrivals;
  };
  std::unordered_map<std::uint32_t, Retired> retired_;
  std::function<void()> empty_;
  std::unique_ptr<Timer> drain_timer_;
};

}  // namespace heddle::proxy
