// SPDX-License-Identifier: Apache-2.0
#include "control/certify/proof.h"

#include <openssl/sha.h>

#include "control/certify/certifier.h"
#include "control/source/annotations.h"

namespace heddle::control {
namespace {

std::string digest(const std::string& token) {
  std::string out(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(),
         reinterpret_cast<unsigned char*>(out.data()));
  return out;
}

std::string full_name(const TokenOwner& owner) {
  return owner.ns + "/" + owner.pod_name;
}

// The pod that the token is bound to, if it is known and lives. A pod of the same name with another uid is
// another pod.
const source::Pod* find_live(const source::Snapshot& snapshot, const TokenOwner& owner) {
  const source::Pod* pod = snapshot.find_pod(owner.ns, owner.pod_name);
  const bool same = pod != nullptr && pod->meta.uid == owner.pod_uid &&
                    pod->service_account == owner.service_account && !pod->node_name.empty();
  return same && !pod->finished() ? pod : nullptr;
}

Refused unknown(const TokenOwner& owner) {
  return {Refusal::not_scheduled, "pod " + full_name(owner) + ", which a token is bound to, is not running"};
}

bool names_other_node(const TokenOwner& owner, const source::Pod& pod) {
  return !owner.node_name.empty() && owner.node_name != pod.node_name;
}

// The agent's pod says which node asks; which identities that node may have is the snapshot's to say.
std::optional<Refused> check_node(const TokenOwner& owner, std::string_view identity,
                                  const source::Snapshot& snapshot, const MeshNames& names) {
  if (!is_agent(owner, names)) {
    return Refused{Refusal::identity, "the token is of ServiceAccount " + owner.ns + "/" +
                                          owner.service_account + ", not of heddle's agents"};
  }
  const source::Pod* agent = find_live(snapshot, owner);
  if (agent == nullptr) return unknown(owner);
  if (names_other_node(owner, *agent)) {
    return Refused{Refusal::node, "the token of agent " + full_name(owner) + " is for another node"};
  }
  if (node_may_have(snapshot, agent->node_name, identity, names)) return std::nullopt;
  return Refused{Refusal::not_scheduled, "no pod with identity " + std::string(identity) +
                                             " is scheduled on node " + agent->node_name +
                                             ": a node only gets the identities of its own pods"};
}

}  // namespace

bool is_agent(const TokenOwner& owner, const MeshNames& names) {
  return owner.ns == names.control_namespace && owner.service_account == agent_service_account;
}

std::optional<Refused> check_proof(const Proof& proof, std::string_view identity,
                                   const source::Snapshot& snapshot, const MeshNames& names) {
  if (proof.for_its_node) return check_node(proof.pod, identity, snapshot, names);
  if (source::identity_name(proof.pod.service_account, proof.pod.ns, names.control_namespace,
                            names.trust_domain) != identity) {
    return Refused{Refusal::identity, "the token is of ServiceAccount " + proof.pod.ns + "/" +
                                          proof.pod.service_account + ", whose identity is another"};
  }
  if (proof.agent && !is_agent(*proof.agent, names)) {
    return Refused{Refusal::identity, "the token in the metadata is of ServiceAccount " + proof.agent->ns +
                                          "/" + proof.agent->service_account + ", not of heddle's agents"};
  }
  const source::Pod* pod = find_live(snapshot, proof.pod);
  if (pod == nullptr) return unknown(proof.pod);
  if (pod->host_network) {
    return Refused{Refusal::identity, "pod " + full_name(proof.pod) + " is on its host's network"};
  }
  if (names_other_node(proof.pod, *pod)) {
    return Refused{Refusal::node, "the token of pod " + full_name(proof.pod) + " is for another node"};
  }
  if (!proof.agent) return std::nullopt;
  const source::Pod* agent = find_live(snapshot, *proof.agent);
  if (agent == nullptr) return unknown(*proof.agent);
  if (names_other_node(*proof.agent, *agent) || agent->node_name != pod->node_name) {
    return Refused{Refusal::node, "pod " + full_name(proof.pod) + " is not on the node of agent " +
                                      full_name(*proof.agent) + ": " + agent->node_name};
  }
  return std::nullopt;
}

std::optional<TokenOwner> AgentReviews::find(const std::string& token, Time now) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(digest(token));
  if (found == entries_.end() || now >= found->second.until) return std::nullopt;
  return found->second.owner;
}

void AgentReviews::keep(const std::string& token, const TokenOwner& owner, Time now) {
  const std::lock_guard lock(mutex_);
  if (entries_.size() >= most) {
    std::erase_if(entries_, [now](const auto& entry) { return now >= entry.second.until; });
  }
  if (entries_.size() < most) entries_[digest(token)] = {owner, now + lifetime};
}

}  // namespace heddle::control
