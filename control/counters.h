// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

namespace heddle::control {

// Of one streaming rpc. Written on gRPC's and the source's threads, read for metrics.
struct StreamCounters {
  std::atomic<std::int64_t> open{0};
  std::atomic<std::uint64_t> opened{0};
  std::atomic<std::uint64_t> refused{0};   // ended at once: bad path, unknown service
  std::atomic<std::uint64_t> messages{0};  // given to gRPC
  std::atomic<std::uint64_t> aborted{0};   // the client read too slowly
};

struct RpcCounters {
  StreamCounters get;
  StreamCounters get_profile;
  std::atomic<std::int64_t> certify_waiting{0};  // requests for pods that are not known yet
  std::atomic<std::uint64_t> reviews_over_budget{0};
};

}  // namespace heddle::control
