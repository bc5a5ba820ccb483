// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "agent/pods/directory.h"
#include "agent/pods/pod_spec.h"

namespace heddle::agent {

// RUN/agent/cni-policy.json: what heddle-cni decides by while no agent answers (docs/cni.md has the format).
// It must never say that a pod is not meshed which this agent would mesh.
inline constexpr std::size_t max_policy_bytes = 4 * 1024 * 1024;  // what the plugin reads

// `namespaces`: every one that the source knows; none for an agent without a source. Those that do not fit
// into max_policy_bytes are left out: the plugin lets their pods wait.
std::string encode_policy(const NodeFacts& node, const std::vector<NamespaceFacts>& namespaces,
                          bool has_source);

// Main thread.
class PolicyFile {
 public:
  // `path`: replaced atomically, mode 0600.
  PolicyFile(std::string path, NodeFacts node) : path_(std::move(path)), node_(std::move(node)) {}

  // After changes of the directory. Writes only what is different; while the directory has not read
  // everything yet the last word of the agent before stays. Failures are logged and tried again the next
  // time.
  void update(const PodDirectory& directory);

 private:
  std::string path_;
  NodeFacts node_;
  std::optional<std::vector<NamespaceFacts>> written_;
  std::string failure_;  // of the last try
};

}  // namespace heddle::agent
