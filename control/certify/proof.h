// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "control/certify/refusal.h"
#include "control/certify/review.h"
#include "control/discovery/endpoints.h"
#include "control/source/snapshot.h"

namespace heddle::control {

// The tokens of a request for a certificate, as the API server says whose they are.
struct Proof {
  TokenOwner pod;
  std::optional<TokenOwner> agent = {};  // nullopt: the pod asks for itself
  bool for_its_node = false;             // `pod` is an agent's own, which asks for the pods of its node
};

// The ServiceAccount of agents, in the control plane's namespace.
inline constexpr std::string_view agent_service_account = "heddle-agent";

// Whether the token is of one of heddle's agents.
bool is_agent(const TokenOwner& owner, const MeshNames& names);

// Nothing: the proof is good for the identity. Else not_scheduled (a pod is not known, or no more the one
// that the token is bound to; the snapshot may be behind), identity (not that pod's, or not an agent's token)
// or node (the pod runs elsewhere than the agent that asks).
std::optional<Refused> check_proof(const Proof& proof, std::string_view identity,
                                   const source::Snapshot& snapshot, const MeshNames& names);

// Reviews of agents' tokens, each good for `lifetime`: an agent asks for all pods of its node with the same
// one. Pods' tokens do not belong here. Holds digests, not tokens. Thread-safe.
class AgentReviews {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // How long a revoked or expired token may go on being taken, where the agent's pod still runs.
  static constexpr std::chrono::seconds lifetime{60};
  static constexpr std::size_t most = 8192;

  std::optional<TokenOwner> find(const std::string& token, Time now) const;
  void keep(const std::string& token, const TokenOwner& owner, Time now);

 private:
  struct Entry {
    TokenOwner owner;
    Time until;
  };
  mutable std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

}  // namespace heddle::control
