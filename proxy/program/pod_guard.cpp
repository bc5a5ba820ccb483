// SPDX-License-Identifier: Apache-2.0
#include "proxy/program/pod_guard.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace heddle::proxy {
namespace {

// What a connection and a request cost the process in memory beyond what is held for them, about: codecs,
// the request's description, TLS, the other side's part. To tell who uses most, not to add up to the whole.
constexpr std::uint64_t connection_bytes = 16 * 1024;
constexpr std::uint64_t request_bytes = 4 * 1024;
bool is_near(const Ceiling& ceiling) {
  return ceiling.limit != 0 && ceiling.used > ceiling.limit / 2;
}

// Of a pod's connections so many are reset at a look when that has to be.
constexpr std::size_t reset_part = 4;

void mark(const Pod& pod, Limit limit, bool shedding) {
  const auto bit = static_cast<std::uint8_t>(1U << static_cast<unsigned>(limit));
  if (shedding) {
    pod.load->shedding.fetch_or(bit, std::memory_order_relaxed);
  } else {
    pod.load->shedding.fetch_and(static_cast<std::uint8_t>(~bit), std::memory_order_relaxed);
  }
}

bool among(const std::vector<std::uint32_t>& ids, std::uint32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

PodGuard::PodGuard(Loop& loop, Hooks hooks)
    : loop_(loop), hooks_(std::move(hooks)), timer_(loop, [this] {
        look(loop_.now());
        timer_.arm(next_look());
      }) {}

void PodGuard::look(Loop::Clock::time_point now) {
  std::vector<ShedPolicy::Use> descriptors;
  std::vector<ShedPolicy::Use> memory;
  hooks_.for_each_pod([&](const Pod& pod) {
    const std::uint64_t connections = pod.load->connections.load(std::memory_order_relaxed);
    const std::uint64_t requests = pod.load->requests.load(std::memory_order_relaxed);
    const std::uint64_t held = pod.load->buffered_bytes.load(std::memory_order_relaxed);
    // A connection's own socket, and those towards apps that speak HTTP/1: one for each request.
    descriptors.push_back({pod.id, connections + requests});
    memory.push_back({pod.id, held + connections * connection_bytes + requests * request_bytes});
    report(pod, now);
  });
  const Ceiling open = hooks_.descriptors();
  const Ceiling used = hooks_.memory();
  decide(descriptors_, open, descriptors, now);
  decide(memory_, used, memory, now);
  near_ = is_near(open) || is_near(used);
}

void PodGuard::decide(Resource& resource, const Ceiling& ceiling, const std::vector<ShedPolicy::Use>& uses,
                      Loop::Clock::time_point now) {
  const auto decision = resource.policy.look(ceiling.used, ceiling.limit, uses, now);
  hooks_.for_each_pod([&](const Pod& pod) {
    const bool shedding = among(decision.shedding, pod.id);
    mark(pod, resource.limit, shedding);
    if (among(decision.begun, pod.id)) {
      pod.load->count(resource.limit);
      spdlog::warn("pod sheds pod={}/{} limit={} used={} of={} connections={} next=\"{}\"", pod.ns, pod.name,
                   to_string(resource.limit), ceiling.used, ceiling.limit, pod.load->connections.load(),
                   LimitReport::next_step(resource.limit));
    }
    if (among(decision.ended, pod.id))
      spdlog::info("pod is served again pod={}/{} limit={} used={}", pod.ns, pod.name,
                   to_string(resource.limit), ceiling.used);
    if (!shedding) return;
    const std::size_t connections = pod.load->connections.load(std::memory_order_relaxed);
    hooks_.shed(pod.id, decision.reset ? connections / reset_part + 1 : 0);
  });
}

void PodGuard::report(const Pod& pod, Loop::Clock::time_point now) {
  for (const LimitReport::Line& line : report_.look(pod, now)) {
    spdlog::warn("pod limited pod={}/{} limit={} times={} next=\"{}\"", pod.ns, pod.name,
                 to_string(line.limit), line.times, LimitReport::next_step(line.limit));
  }
}

}  // namespace heddle::proxy
