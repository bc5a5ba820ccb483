// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "agent/log_budget.h"
#include "agent/proxy_link/links.h"
#include "api/node.pb.h"

// What links.cpp (the conversation) and links_pods.cpp (its pods and sockets) share.
namespace heddle::agent {

// A pod every proxy shall know.
struct ProxyLinks::Served {
  std::string upsert;  // serialized ToProxy
  std::uint64_t cookie = 0;
  std::uint64_t generation = 0;
  int outbound = -1;  // the escrow's
  int inbound = -1;
};

struct ProxyLinks::Link {
  enum class State : std::uint8_t {
    connected,  // nothing said
    greeting,   // Hello came, Held may follow
    waiting,    // HeldEnd came, the agent is not ready
    snapshot,   // being told everything
    serving,    // acknowledged everything
    draining,
  };
  struct Told {
    std::uint64_t sent = 0;   // generation
    std::uint64_t acked = 0;  // generation; 0: none
    bool queued = false;
    std::uint32_t tries = 0;
    std::chrono::steady_clock::time_point retry_at{};
  };
  std::uint64_t id = 0;
  std::uint32_t pid = 0;
  std::uint64_t started_unix_ms = 0;  // of the proxy's process, as it says
  std::chrono::steady_clock::time_point since = std::chrono::steady_clock::now();
  std::uint32_t malformed = 0;
  std::uint32_t held = 0;  // Held messages so far
  std::uint32_t certifying = 0;
  bool leaving = false;  // it was told to end before it connected
  std::string version;
  State state = State::connected;
  std::vector<std::pair<std::uint32_t, std::uint64_t>> stale;  // pods (id, cookie) it holds that are gone
  std::unordered_map<std::uint32_t, Told> told;
  LogBudget log;
  std::unique_ptr<Connection> connection;

  // Greater is newer. By the process first: after an agent's restart proxies come back in any order.
  std::pair<std::uint64_t, std::uint64_t> age() const { return {started_unix_ms, id}; }
  // Gets upserts.
  bool listening() const { return state == State::snapshot || state == State::serving; }
};

// Somebody waits for the first acknowledgement of a pod's generation.
struct ProxyLinks::Pending {
  std::uint64_t generation = 0;
  std::vector<std::function<void()>> done;
  std::unique_ptr<Loop::Handle> deadline;
};

}  // namespace heddle::agent
