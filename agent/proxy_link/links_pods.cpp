// SPDX-License-Identifier: Apache-2.0
// The pods and sockets of the conversation: offers, acknowledgements, retries, the broker's batches.
#include <fcntl.h>

#include <cerrno>

#include "agent/proxy_link/links_state.h"
#include "agent/proxy_link/message.h"

namespace heddle::agent {

void ProxyLinks::raise_generation(std::uint64_t at_least) {
  constexpr std::uint64_t ten_years_us = 10ull * 365 * 24 * 3600 * 1'000'000;
  if (at_least > unix_us() + ten_years_us) return;
  generation_ = std::max(generation_, at_least);
}

void ProxyLinks::offer(const node::Pod& pod, int outbound, int inbound, std::function<void()> done) {
  auto& served = served_[pod.id()];
  if (!served) served = std::make_unique<Served>();
  node::ToProxy message;
  *message.mutable_pod_upsert()->mutable_pod() = pod;
  served->generation = ++generation_;
  message.mutable_pod_upsert()->mutable_pod()->set_generation(served->generation);
  served->upsert = message.SerializeAsString();
  served->cookie = pod.netns_cookie();
  served->outbound = outbound;
  served->inbound = inbound;
  bool told = false;
  for (auto& [id, link] : links_) {
    if (!link->listening()) continue;
    told = true;
    enqueue_upsert(*link, pod.id());
  }
  if (!told) {
    done();
    return;
  }
  auto& pending = pending_[pod.id()];
  if (!pending) pending = std::make_unique<Pending>();
  pending->generation = served->generation;
  pending->done.push_back(std::move(done));
  pending->deadline = loop_.after(options_.ack_deadline, [this, pod_id = pod.id()] {
    ++totals_.ack_timeouts;
    spdlog::warn(
        "no acknowledgement from the proxy pod_id={} after_ms={} next=\"connections wait in its listeners; "
        "look at the proxy's log\"",
        pod_id, options_.ack_deadline.count());
    resolve(pod_id);
  });
}

void ProxyLinks::resolve(std::uint32_t pod_id) {
  const auto found = pending_.find(pod_id);
  if (found == pending_.end()) return;
  const auto pending = std::move(found->second);
  pending_.erase(found);
  for (auto& done : pending->done) done();
}

void ProxyLinks::resolve_all_without_proxy() {
  for (const auto& [id, link] : links_) {
    if (link->listening()) return;
  }
  std::vector<std::uint32_t> waiting;
  for (const auto& [pod_id, pending] : pending_) waiting.push_back(pod_id);
  for (const auto pod_id : waiting) resolve(pod_id);
}

void ProxyLinks::withdraw(std::uint32_t pod_id, std::uint64_t cookie, Withdrawal why) {
  served_.erase(pod_id);
  resolve(pod_id);
  node::ToProxy message;
  message.mutable_pod_remove()->set_id(pod_id);
  message.mutable_pod_remove()->set_netns_cookie(cookie);
  if (why == Withdrawal::released)
    message.mutable_pod_remove()->set_grace_seconds(std::max(options_.drain_grace_seconds, 1u));
  const std::string bytes = message.SerializeAsString();
  for (auto& [id, link] : links_) {
    link->told.erase(pod_id);
    // Draining proxies too: they hold its listeners, and a held listener keeps a netns alive.
    if (link->listening() || link->state == Link::State::draining) enqueue_bytes(*link, bytes);
  }
}

void ProxyLinks::enqueue_bytes(Link& link, std::string bytes) {
  const bool taken = link.connection->send([bytes = std::move(bytes)]() -> std::optional<OutgoingMessage> {
    return OutgoingMessage{bytes, {}, {}};
  });
  if (taken) return;
  spdlog::error("proxy disconnected link={} pid={} reason=\"it does not read: {} messages queued\"", link.id,
                link.pid, link.connection->queued());
  loop_.post([this, id = link.id] { drop(id); });
}

void ProxyLinks::enqueue_upsert(Link& link, std::uint32_t pod_id) {
  auto& told = link.told[pod_id];
  if (told.queued) return;  // what is built then is the newest
  told.queued = true;       // before send(), which may build at once
  if (!link.connection->send([this, id = link.id, pod_id] { return build_upsert(id, pod_id); })) {
    told.queued = false;  // offered again by retry_unacknowledged()
  }
}

std::optional<OutgoingMessage> ProxyLinks::build_upsert(std::uint64_t link_id, std::uint32_t pod_id) {
  Link* link = find(link_id);
  if (link == nullptr) return std::nullopt;
  const auto found = served_.find(pod_id);
  if (found == served_.end()) return std::nullopt;  // withdrawn meanwhile
  const Served& served = *found->second;
  auto& told = link->told[pod_id];
  told.queued = false;
  OutgoingMessage message;
  message.bytes = served.upsert;
  // Duplicates: the message may wait for the socket while the pod goes.
  for (const int fd : {served.outbound, served.inbound}) {
    Fd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!copy) {
      spdlog::error("cannot pass a listener to the proxy pod_id={} error=\"{}\" next=\"raise RLIMIT_NOFILE\"",
                    pod_id, std::strerror(errno));
      told.retry_at = std::chrono::steady_clock::now() + options_.retry_unacknowledged;
      return std::nullopt;
    }
    message.fds.push_back(copy.get());
    message.owned.push_back(std::move(copy));
  }
  told.sent = served.generation;
  ++told.tries;
  told.retry_at =
      std::chrono::steady_clock::now() + options_.retry_unacknowledged * std::min(told.tries, 12u);
  return message;
}

void ProxyLinks::retry_unacknowledged() {
  const auto now = std::chrono::steady_clock::now();
  for (auto& [id, link] : links_) {
    if (!link->listening()) continue;
    for (const auto& [pod_id, served] : served_) {
      auto& told = link->told[pod_id];
      if (told.acked >= served->generation || told.queued || now < told.retry_at) continue;
      spdlog::debug("pod offered again link={} pod_id={}", id, pod_id);
      enqueue_upsert(*link, pod_id);
    }
  }
}

void ProxyLinks::on_ack(Link& link, std::uint32_t pod_id, std::uint64_t generation,
                        const std::string& error) {
  ++totals_.acks;
  const auto found = served_.find(pod_id);
  if (found == served_.end()) return;  // withdrawn meanwhile
  auto& told = link.told[pod_id];
  if (!error.empty() && link.state == Link::State::draining) return;  // it serves no pod anew
  if (!error.empty()) {
    ++totals_.ack_errors;
    if (link.log.take(std::chrono::steady_clock::now())) {
      spdlog::error("proxy cannot serve a pod link={} pod_id={} error=\"{}\" next=\"offered again in {} s\"",
                    link.id, pod_id, error,
                    options_.retry_unacknowledged.count() / 1000 * std::min(told.tries, 12u));
    }
    return;
  }
  // Not beyond what it was told: a claim must not count for descriptions that are yet to come.
  told.acked = std::max(told.acked, std::min(generation, told.sent));
  if (told.acked >= found->second->generation) told.tries = 0;
  const auto pending = pending_.find(pod_id);
  if (pending != pending_.end() && told.acked >= pending->second->generation) resolve(pod_id);
}

void ProxyLinks::enqueue_sockets(Link& link, std::uint32_t pod_id, bool ipv6, std::uint32_t count,
                                 std::uint64_t request) {
  if (count == 0) return;
  const bool taken = link.connection->send([this, id = link.id, pod_id, ipv6, count, request] {
    return build_sockets(id, pod_id, ipv6, count, request);
  });
  if (!taken) {
    ++totals_.socket_errors;
    if (!link.log.take(std::chrono::steady_clock::now())) return;
    spdlog::warn("socket request dropped link={} pod_id={} reason=\"the proxy does not read\"", link.id,
                 pod_id);
  }
}

std::optional<OutgoingMessage> ProxyLinks::build_sockets(std::uint64_t link_id, std::uint32_t pod_id,
                                                         bool ipv6, std::uint32_t count,
                                                         std::uint64_t request) {
  if (find(link_id) == nullptr) return std::nullopt;
  node::ToProxy message;
  auto& sockets = *message.mutable_sockets();
  sockets.set_pod_id(pod_id);
  sockets.set_ipv6(ipv6);
  sockets.set_request(request);
  sockets.set_prepared(true);
  OutgoingMessage out;
  auto made = owner_.sockets(pod_id, ipv6, count);
  if (made) {
    totals_.sockets += made->size();
    for (auto& fd : *made) {
      out.fds.push_back(fd.get());
      out.owned.push_back(std::move(fd));
    }
  } else {
    ++totals_.socket_errors;
    sockets.set_error(made.error().message());
  }
  out.bytes = message.SerializeAsString();
  return out;
}

bool ProxyLinks::acknowledged(std::uint32_t pod_id) const {
  const auto found = served_.find(pod_id);
  if (found == served_.end()) return false;
  const auto by = [&](const Link& link) {
    const auto told = link.told.find(pod_id);
    return told != link.told.end() && told->second.acked >= found->second->generation;
  };
  const auto active = links_.find(active_);
  if (active != links_.end()) return by(*active->second);
  return std::any_of(links_.begin(), links_.end(), [&](const auto& entry) { return by(*entry.second); });
}

}  // namespace heddle::agent
