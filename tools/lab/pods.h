// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "tools/lab/cni_chain.h"
#include "tools/lab/layout.h"
#include "tools/lab/objects.h"
#include "tools/lab/options.h"
#include "tools/lab/plan.h"

namespace heddle::tools {

// The lab's kubelet and container runtime: sandboxes (network namespace, CNI ADD), containers, readiness,
// restarts, deletion. One thread, no callbacks into it; the owner reaps children and calls tick().
class PodRunner {
 public:
  using Clock = std::chrono::steady_clock;

  PodRunner(const LabLayout& layout, const LabOptions& options);
  ~PodRunner();

  // Nodes whose pods may start: its mesh agent answers (or there is no mesh).
  void set_node(const LabNode& node, int netns, bool ready);
  void add(const LabPod& pod, const LabPlan& plan);
  // Stops the containers (SIGTERM, after 2 s SIGKILL), CNI DEL, removes everything of it.
  void remove(const std::string& key);
  bool contains(const std::string& key) const;
  std::vector<std::string> keys() const;

  bool ended(pid_t pid, int status);
  Clock::time_point tick(Clock::time_point now);

  // Set by any change of a pod's status since the last call.
  bool take_changed() { return std::exchange(changed_, false); }
  std::vector<std::pair<const LabPod*, LabPodStatus>> states() const;
  // [{"namespace","name","node","uid","phase","ready","ips","message","restarts","containers":[{"name","pid"}],...}]
  boost::json::array to_json() const;

 private:
  struct Container;
  struct Pod;
  struct Node;

  void start_sandbox(Pod& pod, Clock::time_point now);
  void start_containers(Pod& pod, Clock::time_point now);
  Result<> start_container(Pod& pod, Container& container);
  void container_ended(Pod& pod, Container& container, int status);
  void probe(Pod& pod, Container& container, Clock::time_point now, Clock::time_point& next);
  void probe_ended(Pod& pod, Container& container, int status);
  void update_phase(Pod& pod);
  void finish_removal(Pod& pod);
  Result<> prepare_volumes(const LabPod& pod, const LabPlan& plan) const;
  boost::json::object network_list(const Node& node) const;
  CniAttachment attachment(const Pod& pod) const;
  CniRuntime runtime(const Node& node) const;

  const LabLayout& layout_;
  const LabOptions& options_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::unique_ptr<Pod>> pods_;
  bool changed_ = false;
};

}  // namespace heddle::tools
