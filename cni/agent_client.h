// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "api/node.pb.h"
#include "base/result.h"

namespace heddle::cni {

// One request with its descriptor (-1: none), one reply. The plugin takes it as a value so that another way
// to an answer (a node that decides without its agent) can stand in its place.
using Exchange = std::function<Result<node::CniReply>(const node::CniRequest&, int netns)>;

struct AgentAddress {
  std::string socket;                     // RUN/agent/cni.sock
  std::chrono::milliseconds connect_for;  // an absent agent is waited for this long: an upgrade takes less
  std::chrono::milliseconds timeout;      // for everything
};

// Over the agent's socket. Errors: what connect(2) said (ENOENT, ECONNREFUSED: away), Errc::timeout,
// Errc::closed (the agent died meanwhile), Errc::protocol (the reply cannot be read).
Result<node::CniReply> ask_agent(const AgentAddress& address, const node::CniRequest& request, int netns);

}  // namespace heddle::cni
