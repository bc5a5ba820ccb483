// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "control/injector/decide.h"

// What the injector and the startup taint have done; written on their threads, read for metrics.
namespace heddle::control {

struct WebhookCounters {
  std::atomic<std::int64_t> open{0};  // connections
  std::atomic<std::uint64_t> turned_away{
      0};  // connections beyond the limit, or before there is a certificate
  std::atomic<std::uint64_t> handshakes_failed{0};
  std::atomic<std::uint64_t> bad_requests{0};  // no HTTP, no review, too large, too slow, or another path
};

struct KeeperCounters {
  std::atomic<std::int64_t> certificate_ends{0};  // seconds since the epoch; 0: none yet
  std::atomic<std::uint64_t> certificates_made{0};
  std::atomic<std::uint64_t> bundles_patched{0};
  std::atomic<std::uint64_t> failures{0};  // rounds
};

struct InjectorCounters {
  WebhookCounters server;
  KeeperCounters keeper;
  std::array<std::atomic<std::uint64_t>, injector_outcome_names.size()> outcomes{};
  std::atomic<std::uint64_t> microseconds{0};  // spent on all of them
};

struct TaintCounters {
  std::atomic<std::uint64_t> removed{0};
  std::atomic<std::uint64_t> conflicts{0};  // the node changed meanwhile
  std::atomic<std::uint64_t> failures{0};
};

}  // namespace heddle::control
