// SPDX-License-Identifier: Apache-2.0
#include "proxy/connection.h"

#include <unordered_map>

#include "proxy/worker.h"

namespace heddle::proxy {

struct ConnectionSet::Impl {
  explicit Impl(Worker& owner) : worker(owner) {}

  void link(Connection& connection) {
    connection.previous_ = nullptr;
    connection.next_ = first;
    if (first != nullptr) first->previous_ = &connection;
    first = &connection;
    ++live;
    ++per_pod[connection.pod->id];
  }

  void unlink(Connection& connection) {
    if (connection.previous_ != nullptr) connection.previous_->next_ = connection.next_;
    if (connection.next_ != nullptr) connection.next_->previous_ = connection.previous_;
    if (first == &connection) first = connection.next_;
    if (cursor == &connection) cursor = connection.next_;
    connection.previous_ = connection.next_ = nullptr;
    --live;
    const auto count = per_pod.find(connection.pod->id);
    if (--count->second == 0) per_pod.erase(count);
    connection.pod->load->connections.fetch_sub(1, std::memory_order_relaxed);
  }

  void bury() {
    burial_due = false;
    // Destructors may finish other connections: those go into the next round.
    std::vector<std::unique_ptr<Connection>> round;
    round.swap(dead);
  }

  // Calls `act` on each connection; it may finish any of them.
  template <class Act>
  void for_each(Act act) {
    cursor = first;
    while (cursor != nullptr) {
      Connection& connection = *cursor;
      cursor = connection.next_;
      act(connection);
    }
  }

  Worker& worker;
  Connection* first = nullptr;
  Connection* cursor = nullptr;  // the next one of a for_each() in progress
  std::size_t live = 0;
  std::unordered_map<std::uint32_t, std::size_t> per_pod;
  std::vector<std::unique_ptr<Connection>> dead;
  bool burial_due = false;
};

ConnectionSet::ConnectionSet(Worker& worker) : impl_(std::make_unique<Impl>(worker)) {}

ConnectionSet::~ConnectionSet() {
  while (impl_->first != nullptr) {
    const std::unique_ptr<Connection> connection(impl_->first);
    impl_->unlink(*connection);
  }
}

bool ConnectionSet::adopt(std::unique_ptr<Connection> connection) {
  const Pod& pod = *connection->pod;
  const std::uint32_t before = pod.load->connections.fetch_add(1, std::memory_order_relaxed);
  if (before >= pod.load->limits.connections.load(std::memory_order_relaxed)) {
    pod.load->connections.fetch_sub(1, std::memory_order_relaxed);
    pod.load->count(Limit::connections);
    if (impl_->worker.telemetry) {
      impl_->worker.telemetry
          ->counter("heddle_connections_refused_total", "Connections beyond a pod's limit.",
                    render_label("namespace", pod.ns) + "," + render_label("pod", pod.name))
          ->add(1);
    }
    return false;
  }
  connection->adopted_ = true;
  impl_->link(*connection.release());
  return true;
}

void ConnectionSet::done(Connection& connection) {
  if (!connection.adopted_) return;
  connection.adopted_ = false;
  impl_->unlink(connection);
  impl_->dead.emplace_back(&connection);
  if (std::exchange(impl_->burial_due, true)) return;
  impl_->worker.loop.defer([impl = impl_.get()] { impl->bury(); });
}

void ConnectionSet::drain_all() {
  impl_->for_each([](Connection& connection) { connection.drain(); });
}

void ConnectionSet::drain_all(std::uint32_t pod_id) {
  impl_->for_each([pod_id](Connection& connection) {
    if (connection.pod->id == pod_id) connection.drain();
  });
}

void ConnectionSet::end_idle(std::uint32_t pod_id) {
  impl_->for_each([pod_id](Connection& connection) {
    if (connection.pod->id == pod_id) connection.end_idle();
  });
}

void ConnectionSet::end_idle() {
  impl_->for_each([](Connection& connection) { connection.end_idle(); });
}

void ConnectionSet::abort_all(std::uint32_t pod_id) {
  impl_->for_each([pod_id](Connection& connection) {
    if (connection.pod->id == pod_id) connection.abort();
  });
}

void ConnectionSet::policy_changed(const PodRef& now) {
  impl_->for_each([&now](Connection& connection) { connection.policy_changed(now); });
}

void ConnectionSet::abort_youngest(std::uint32_t pod_id, std::size_t count) {
  // The list begins with the youngest.
  if (count == 0) return;
  impl_->for_each([&](Connection& connection) {
    if (count == 0 || connection.pod->id != pod_id) return;
    --count;
    connection.abort();
  });
}

void ConnectionSet::abort_all() {
  impl_->for_each([](Connection& connection) { connection.abort(); });
}

std::size_t ConnectionSet::size() const {
  return impl_->live;
}

std::size_t ConnectionSet::size(std::uint32_t pod_id) const {
  const auto found = impl_->per_pod.find(pod_id);
  return found == impl_->per_pod.end() ? 0 : found->second;
}

}  // namespace heddle::proxy
