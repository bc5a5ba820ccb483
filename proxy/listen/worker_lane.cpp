// SPDX-License-Identifier: Apache-2.0
#include "proxy/listen/worker_lane.h"

#include <spdlog/spdlog.h>

#include "proxy/policy/authorize.h"
#include "proxy/upstream/brokered_dialer.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

constexpr std::chrono::milliseconds drain_look{50};
// SYNs that were on their way when a pod was released, sent again once.
constexpr std::chrono::milliseconds last_arrivals{2'000};

}  // namespace

WorkerLane::WorkerLane(Worker& worker, NodePods& pods, BrokeredDialer& dialer)
    : worker_(worker), pods_(pods), dialer_(dialer), pause_(worker.loop) {
  pause_.pause = [this] {
    for (auto& [id, acceptor] : acceptors_) acceptor->pause();
  };
  pause_.resume = [this] { resume(); };
}

WorkerLane::~WorkerLane() = default;

void WorkerLane::upsert(PodRef pod, std::shared_ptr<PodListeners> listeners,
                        std::function<void(const std::string&)> done) {
  worker_.loop.post([this, pod = std::move(pod), listeners = std::move(listeners), done = std::move(done)] {
    done(serve(pod, listeners));
  });
}

std::string WorkerLane::serve(const PodRef& pod, std::shared_ptr<PodListeners> listeners) {
  if (worker_.draining) return "this proxy drains";
  auto& acceptor = acceptors_[pod->id];
  if (!listeners && !acceptor) {
    acceptors_.erase(pod->id);
    return "no listeners came with the pod and none are held";
  }
  const PodRef before = pods_.by_id(pod->id);
  const bool was_retired = retired_.erase(pod->id) != 0;
  if (was_retired) pod->load->leaving = false;
  pods_.upsert(pod);
  dialer_.pod_upserted(pod);
  if (was_retired) dialer_.renew(pod->id);  // nothing told them apart from the app's while nothing redirected
  if (before && before->netns_cookie == pod->netns_cookie && policy_differs(*before, *pod))
    worker_.connections->policy_changed(pod);
  if (!listeners || (acceptor && acceptor->listeners() == listeners)) {
    acceptor->update(pod);
    return {};
  }
  acceptor = std::make_unique<Acceptor>(worker_, pause_, pod, std::move(listeners));
  if (pause_.active()) return {};
  if (auto listening = acceptor->listen(); !listening) return listening.error().message();
  return {};
}

void WorkerLane::retire(std::uint32_t id, std::uint64_t netns_cookie) {
  worker_.loop.post([this, id, netns_cookie] { begin_retiring(id, netns_cookie); });
}

void WorkerLane::begin_retiring(std::uint32_t id, std::uint64_t netns_cookie) {
  // No joins from now on: it is an address like any other.
  const PodRef pod = pods_.remove(id, netns_cookie);
  if (!pod) return;
  pod->load->leaving = true;
  worker_.connections->drain_all(id);
  auto timer = std::make_unique<Timer>(worker_.loop, [this, id] { stop_accepting(id); });
  timer->arm(last_arrivals);
  retired_[id] = {netns_cookie, std::move(timer)};
}

void WorkerLane::stop_accepting(std::uint32_t id) {
  acceptors_.erase(id);
  worker_.connections->end_idle(id);
}

void WorkerLane::remove(std::uint32_t id, std::uint64_t netns_cookie) {
  worker_.loop.post([this, id, netns_cookie] { forget(id, netns_cookie); });
}

void WorkerLane::forget(std::uint32_t id, std::uint64_t netns_cookie) {
  const auto retired = retired_.find(id);
  const bool was_retired = retired != retired_.end() && retired->second.netns_cookie == netns_cookie;
  if (was_retired) retired_.erase(retired);
  if (!pods_.remove(id, netns_cookie) && !was_retired) return;
  acceptors_.erase(id);
  dialer_.pod_removed(id);
  worker_.connections->abort_all(id);
  // Their sockets would keep the netns, and its name in the pools, until PING or an idle time-out ends them.
  if (worker_.mesh_pool) worker_.mesh_pool->forget(id);
  if (worker_.http_pool) worker_.http_pool->forget(id);
}

void WorkerLane::sockets(std::uint32_t pod_id, bool ipv6, std::vector<Fd> sockets, std::string error) {
  // std::function copies; descriptors do not.
  auto carried = std::make_shared<std::vector<Fd>>(std::move(sockets));
  worker_.loop.post([this, pod_id, ipv6, carried, error = std::move(error)] {
    dialer_.add_sockets(pod_id, ipv6, std::move(*carried), error);
  });
}

void WorkerLane::agent_ready() {
  worker_.loop.post([this] { dialer_.agent_ready(); });
}

void WorkerLane::resume() {
  for (auto& [id, acceptor] : acceptors_) {
    if (auto listening = acceptor->listen(); !listening) {
      pause_.begin(listening.error().code.value());
      return;
    }
  }
}

void WorkerLane::drain(std::function<void()> empty) {
  worker_.loop.post([this, empty = std::move(empty)] {
    empty_ = empty;
    begin_drain();
  });
}

void WorkerLane::begin_drain() {
  if (!worker_.draining) {
    worker_.draining = true;
    // What the kernel queued stays there for the next proxy: the listeners are the agent's and the next one's
    // too.
    acceptors_.clear();
    worker_.connections->drain_all();
    if (worker_.mesh_pool) worker_.mesh_pool->drain();
    if (worker_.http_pool) worker_.http_pool->drain();
  }
  if (!drain_timer_) drain_timer_ = std::make_unique<Timer>(worker_.loop, [this] { look_whether_empty(); });
  look_whether_empty();
}

// A connection is over when its ends are passed on: what they wrote last may wait for a slow reader.
bool WorkerLane::is_empty() const {
  return worker_.connections->size() == 0 && !(worker_.mesh_pool && worker_.mesh_pool->has_streams()) &&
         !(worker_.tls && worker_.tls->closing() != 0);
}

void WorkerLane::look_whether_empty() {
  if (!is_empty()) {
    drain_timer_->arm(drain_look);
    return;
  }
  if (auto empty = std::exchange(empty_, nullptr)) empty();
}

void WorkerLane::end_idle() {
  worker_.loop.post([this] {
    worker_.idle_ends = true;
    worker_.connections->end_idle();
  });
}

void WorkerLane::shed(std::uint32_t id, std::size_t resets) {
  worker_.loop.post([this, id, resets] {
    worker_.connections->drain_all(id);
    worker_.connections->end_idle(id);
    worker_.connections->abort_youngest(id, resets);
  });
}

void WorkerLane::count_waiting(std::function<void(std::size_t)> done) {
  worker_.loop.post([this, done = std::move(done)] { done(worker_.awaiting_upstream + dialer_.waiting()); });
}

void WorkerLane::cut(std::function<void(std::size_t)> done) {
  worker_.loop.post([this, done = std::move(done)] {
    const std::size_t left = worker_.connections->size();
    worker_.connections->abort_all();
    done(left);
  });
}

}  // namespace heddle::proxy
