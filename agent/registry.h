// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/plan.h"
#include "agent/pods/pod_spec.h"
#include "base/result.h"

namespace heddle::agent {

// A pod's sandbox on this node: what it is (facts), what it shall be (spec), and the numbers it was given.
struct Sandbox {
  SandboxFacts facts;
  PodSpec spec;
  std::uint32_t pod_id = 0;  // 0: never meshed
  Mode mode = Mode::ebpf;
  std::string mode_reason;
  // Of the listeners, fixed while they live: an annotation changed later does not move them.
  std::uint16_t outbound_port = 0;
  std::uint16_t inbound_port = 0;
  std::uint64_t generation = 1;  // rises with each change of the description
  bool path_reachable = false;   // netns_path was the netns, seen from the agent's mount namespace
  bool rules = false;            // nat rules may be in the netns, whatever the mode is now
  bool pinned = false;           // the agent keeps the netns by a bind mount of its own (RUN/agent/netns/)
  std::string failure;           // why it is not what it shall be; empty: it is
};

// Every sandbox the agent knows, and who has which pod id. Pure: decides nothing about time or I/O.
class Registry {
 public:
  // Ids are 1 to `max_pods` - 1; 0 is nobody's.
  explicit Registry(std::uint32_t max_pods);

  Sandbox* find(const std::string& container_id);
  const Sandbox* find(const std::string& container_id) const;
  const Sandbox* find_pod(std::uint32_t pod_id) const;
  // The sandbox with this netns, or nullptr.
  const Sandbox* find_cookie(std::uint64_t cookie) const;

  // Takes it in; with a pod id it keeps that id. Errc::already_exists if the id or the netns is another
  // sandbox's.
  Result<Sandbox*> insert(Sandbox sandbox);
  // Gives it a pod id if it has none. Ids are handed out in turn, so that a freed one rests as long as
  // possible.
  Result<> assign_id(Sandbox& sandbox);
  void erase(const std::string& container_id);

  // Some meshed sandbox has this identity.
  bool has_identity(const std::string& identity) const;
  // A meshed sandbox that has it, if possible that of the pod id; or nullptr.
  const Sandbox* find_identity(std::uint32_t pod_id, const std::string& identity) const;
  std::vector<std::string> ids() const;  // container ids, sorted
  std::size_t size() const { return sandboxes_.size(); }
  const std::map<std::string, Sandbox>& all() const { return sandboxes_; }
  std::map<std::string, Sandbox>& all() { return sandboxes_; }

 private:
  std::uint32_t max_pods_;
  std::uint32_t next_id_ = 1;
  std::map<std::string, Sandbox> sandboxes_;
  std::unordered_map<std::uint32_t, std::string> by_id_;
  std::unordered_map<std::uint64_t, std::string> by_cookie_;
};

}  // namespace heddle::agent
