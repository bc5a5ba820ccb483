// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace heddle::proxy {

// Why something of a pod was refused or had to wait.
enum class Limit : std::uint8_t {
  connections,     // reset: as many as it may have are open
  requests,        // answered 503: as many as it may have are being answered
  buffered_bytes,  // stream or content refused, head answered 503: it holds as much as it may
  accept_rate,     // new connections wait in the kernel's queue: as many as it may have in a second came
  descriptors,     // it uses most of the process' descriptors, which are short: see ShedPolicy
  memory,          // the same of memory
};
inline constexpr std::size_t limit_count = 6;

constexpr const char* to_string(Limit limit) {
  constexpr std::array<const char*, limit_count> names{"connections", "requests",    "buffered_bytes",
                                                       "accept_rate", "descriptors", "memory"};
  return names[static_cast<std::size_t>(limit)];
}

// What one pod may use of the proxy, over all workers. In a pod's description 0 stands for the node's
// default, which the values here are.
struct PodLimits {
  std::uint32_t connections = 10'000;
  std::uint32_t requests = 10'000;  // at a time
  std::uint64_t buffered_bytes = 64 * 1024 * 1024;
  std::uint32_t accepts_per_second = 10'000;  // on each of its two listeners
  std::uint32_t cpu_weight = 100;  // of a worker's time while others want some, against their weights

  static constexpr PodLimits unsaid() { return {0, 0, 0, 0, 0}; }
  // These, and where they are 0 those of `defaults`.
  constexpr PodLimits or_else(const PodLimits& defaults) const {
    return {connections != 0 ? connections : defaults.connections,
            requests != 0 ? requests : defaults.requests,
            buffered_bytes != 0 ? buffered_bytes : defaults.buffered_bytes,
            accepts_per_second != 0 ? accepts_per_second : defaults.accepts_per_second,
            cpu_weight != 0 ? cpu_weight : defaults.cpu_weight};
  }
};

// A pod's limits as they are now: changed on the link thread, read by the workers.
struct LiveLimits {
  LiveLimits() { set({}); }
  void set(const PodLimits& limits) {
    connections.store(limits.connections, std::memory_order_relaxed);
    requests.store(limits.requests, std::memory_order_relaxed);
    buffered_bytes.store(limits.buffered_bytes, std::memory_order_relaxed);
    accepts_per_second.store(limits.accepts_per_second, std::memory_order_relaxed);
    cpu_weight.store(limits.cpu_weight, std::memory_order_relaxed);
  }
  std::atomic<std::uint32_t> connections;
  std::atomic<std::uint32_t> requests;
  std::atomic<std::size_t> buffered_bytes;
  std::atomic<std::uint32_t> accepts_per_second;
  std::atomic<std::uint32_t> cpu_weight;
};

}  // namespace heddle::proxy
