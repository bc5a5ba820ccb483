// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "control/certify/token_review.h"
#include "control/source/snapshot.h"

namespace heddle::control {

// PURE: who asks for a certificate, as far as tokens prove it.
struct Asker {
  std::string node;                 // proven by itself, or found by agent_node()
  std::optional<TokenOwner> agent;  // the agent's own token: the node is the one its pod runs on
  std::optional<TokenOwner> pod;    // the token of the pod that the certificate is for
};

// Whose tokens prove a node.
struct AgentAccount {
  std::string ns;
  std::string service_account;
};

// From the tokens' owners. Errc::permission_denied: `agent` is of another ServiceAccount, or not bound to a
// pod; `pod` is not bound to one.
Result<Asker> asker_of(TokenOwner agent, std::optional<TokenOwner> pod, const AgentAccount& account);

// The node of the agent's pod. Errc::not_found: the snapshot has no such pod (it may come).
Result<std::string> agent_node(const TokenOwner& agent, const source::Snapshot& snapshot);

// The pod that a token is bound to. Errc::not_found: the snapshot has no such pod (it may come), or has
// another one of that name.
Result<const source::Pod*> bound_pod(const TokenOwner& owner, const source::Snapshot& snapshot);

}  // namespace heddle::control
