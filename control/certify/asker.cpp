// SPDX-License-Identifier: Apache-2.0
#include "control/certify/asker.h"

namespace heddle::control {

Result<Asker> asker_of(TokenOwner agent, std::optional<TokenOwner> pod, const AgentAccount& account) {
  if (agent.ns != account.ns || agent.service_account != account.service_account) {
    return make_error(Errc::permission_denied, "the token is of " + agent.ns + "/" + agent.service_account +
                                                   ", not of the agents' " + account.ns + "/" +
                                                   account.service_account);
  }
  if (agent.pod_name.empty()) {
    return make_error(Errc::permission_denied, "the agent's token is not bound to a pod, and proves no node");
  }
  if (pod && pod->pod_name.empty()) {
    return make_error(Errc::permission_denied, "the pod's token is not bound to a pod");
  }
  return Asker{{}, std::move(agent), std::move(pod)};
}

Result<const source::Pod*> bound_pod(const TokenOwner& owner, const source::Snapshot& snapshot) {
  const source::Pod* pod = snapshot.find_pod(owner.ns, owner.pod_name);
  if (pod == nullptr || pod->meta.uid != owner.pod_uid) {
    return make_error(Errc::not_found,
                      "pod " + owner.ns + "/" + owner.pod_name + " of the token is not known");
  }
  return pod;
}

Result<std::string> agent_node(const TokenOwner& agent, const source::Snapshot& snapshot) {
  const auto pod = bound_pod(agent, snapshot);
  if (!pod) return pod.error();
  const std::string& node = (*pod)->node_name;
  if (node.empty()) return make_error(Errc::not_found, "the agent's pod runs on no node yet");
  if (!agent.node_name.empty() && agent.node_name != node) {
    return make_error(Errc::permission_denied, "the agent's token is of another node than its pod");
  }
  return node;
}

}  // namespace heddle::control
