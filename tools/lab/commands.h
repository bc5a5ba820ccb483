// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "tools/lab/layout.h"
#include "tools/lab/options.h"
#include "tools/process/spawn.h"

namespace heddle::tools {

// What `heddle lab ...` does; also used by the demo. All need root.

// Brings a lab up and waits until every pod is ready (or done, for those that end). `progress` lines go to
// stderr unless `quiet`. On a failed set-up everything is removed; pods that do not become ready in time are
// Errc::timeout with their reasons, and the lab stays for a look at it.
Result<> lab_up(const LabOptions& options, std::chrono::milliseconds timeout, bool quiet);
Result<> lab_down(const std::string& name);

// The lab meant by an empty name: "lab" if it is up, else the only one there is. Errc::not_found /
// invalid_argument say what to do.
Result<LabLayout> find_lab(const std::string& name);

// Waits until every pod of the lab is ready or done.
Result<> wait_for_pods(const LabLayout& layout, std::chrono::milliseconds timeout);

// Where a pod runs. `pod` is NAME, NAMESPACE/NAME or deploy/NAME (its first ready pod).
struct PodPlace {
  std::string ns, name, node, uid, netns, container, ip;
  pid_t pid = 0;
};
Result<PodPlace> find_pod(const LabLayout& layout, const std::string& pod, const std::string& container);

// How to start a process of the pod: its cgroup, namespaces and the environment of its container. `netns`
// must stay open until it is started.
Result<SpawnSpec> pod_process(const LabLayout& layout, const PodPlace& place,
                              const std::vector<std::string>& command, Fd& netns);

// Runs a command as a process of the pod (its cgroup, namespaces and files) and returns its exit code.
Result<int> lab_exec(const LabLayout& layout, const PodPlace& place, const std::vector<std::string>& command);

// Restarts and waits until the new process does its work: the agent takes requests, the agent names the proxy
// as the one that serves, control runs.
Result<> lab_restart(const LabLayout& layout, const std::string& program, const std::string& node, bool kill);

}  // namespace heddle::tools
