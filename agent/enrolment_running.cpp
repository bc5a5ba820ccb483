// SPDX-License-Identifier: Apache-2.0
// Pods that started before heddle was installed: no ADD came for them, so they are looked for.
#include "agent/enrolment.h"
#include "agent/enrolment_waiting.h"
#include "agent/pods/find_netns.h"

namespace heddle::agent {
namespace {

SandboxFacts facts_of(const RunningPod& running) {
  SandboxFacts facts;
  facts.pod_namespace = running.ns;
  facts.pod_name = running.name;
  facts.pod_uid = running.pod.uid;
  facts.source = running.pod;
  return facts;
}

}  // namespace

bool Enrolment::has_sandbox_of(const RunningPod& running) const {
  return std::any_of(registry_.all().begin(), registry_.all().end(), [&](const auto& entry) {
    const SandboxFacts& facts = entry.second.facts;
    return facts.pod_namespace == running.ns && facts.pod_name == running.name &&
           (facts.pod_uid.empty() || facts.pod_uid == running.pod.uid || facts.pod_uid == running.cgroup_uid);
  });
}

// One search at a time; what the source tells meanwhile is looked for by the next sweep or change.
void Enrolment::look_for_running() {
  if (!recovered_ || searching_) return;
  auto search = std::make_shared<Search>();
  for (auto& running : directory_.running()) {
    if (has_sandbox_of(running) || !describe(facts_of(running), node_).meshed) continue;
    search->ips[running.cgroup_uid] = running.pod.ips;
    search->pods.push_back(std::move(running));
  }
  const auto& pods = search->pods;
  std::erase_if(not_found_, [&](const std::string& uid) {
    return std::none_of(pods.begin(), pods.end(), [&](const RunningPod& pod) { return pod.pod.uid == uid; });
  });
  if (pods.empty()) return;
  searching_ = true;
  loop_.background([search] { search->found = find_netns(search->ips); },
                   [this, search, alive = alive_] {
                     if (!*alive) return;
                     searching_ = false;
                     for (auto& running : search->pods) take_running(running, search->found);
                   });
}

void Enrolment::take_running(const RunningPod& running, std::map<std::string, FoundNetns>& found) {
  if (has_sandbox_of(running)) return;  // its ADD came meanwhile
  const auto at = found.find(running.cgroup_uid);
  if (at == found.end()) {
    if (not_found_.insert(running.pod.uid).second) {
      spdlog::warn(
          "running pod is not meshed pod={}/{} reason=\"no process of it was found with one of its "
          "addresses\" "
          "next=\"recreate the pod; does the agent see the node's processes (hostPID)?\"",
          running.ns, running.name);
      if (witness_) {
        witness_(
            {running.ns, running.name, running.pod.uid}, EventReason::not_enrolled,
            "Is to be meshed and runs without: it started before heddle, and no process of it was found on "
            "node " +
                node_.node_name + ". Recreate the pod, or see that heddle-agent has hostPID.");
      }
    }
    return;
  }
  Sandbox fresh;
  fresh.facts = facts_of(running);
  fresh.facts.container_id = std::string(recovered_prefix) + std::to_string(at->second.cookie);
  fresh.facts.netns_cookie = at->second.cookie;
  fresh.facts.netns_addresses = at->second.addresses;
  fresh.facts.attachments.push_back({"eth0", "", running.pod.ips});
  const std::string id = fresh.facts.container_id;
  auto inserted = registry_.insert(std::move(fresh));
  if (!inserted) return;  // another pod's sandbox is not released yet: the next search
  not_found_.erase(running.pod.uid);
  Sandbox& sandbox = **inserted;
  redescribe(sandbox);
  sandbox.generation = 1;
  locate(sandbox, at->second.netns.get());
  HeldSockets held;
  held.netns = std::move(at->second.netns);
  escrow_.keep(id, std::move(held));
  spdlog::info("running pod found pod={}/{} container={} meshed={} reason=\"{}\"", running.ns, running.name,
               id, sandbox.spec.meshed, sandbox.spec.reason);
  converge(id, Reconciler::OnFailure::keep,
           [this](const Result<>& result) { ++(result ? totals_.enrolled : totals_.failed); });
}

}  // namespace heddle::agent
