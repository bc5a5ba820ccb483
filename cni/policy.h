// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cni/config.h"
#include "cni/environment.h"

// Which pods may start while no agent answers: those that are certainly not meshed. PURE.
namespace heddle::cni {

// RUN/agent/cni-policy.json, which the agent keeps beside its socket (docs/cni.md has the format).
constexpr std::string_view policy_name = "cni-policy.json";
constexpr std::size_t max_policy_bytes = 4 * 1024 * 1024;

struct Policy {
  std::string control_namespace;
  std::vector<std::string> excluded_namespaces;
  // Namespaces by name: are pods without an annotation of their own meshed there?
  std::map<std::string, bool, std::less<>> namespaces;
  // The same for every other namespace. True when the agent merely does not know them.
  bool others_may_be_meshed = true;
};

// Errc::exhausted beyond max_policy_bytes; Errc::unsupported: of another version; Errc::protocol: anything
// else that is not as the agent writes it. Unknown keys are ignored.
Result<Policy> parse_policy(std::string_view text);

struct Verdict {
  bool passes = false;  // certainly not meshed: what the main network made is all the pod needs
  std::string reason;   // half a sentence: "its namespace kube-system is excluded"
};

// `policy`: the agent's last word, or why there is none; the configuration's own namespaces hold then, so
// that a node that has just booted starts what its agent depends on.
Verdict decide_without_agent(const PodName& pod, const NetworkConfig& config, const Result<Policy>& policy);

}  // namespace heddle::cni
