// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tools/lab/layout.h"
#include "tools/lab/options.h"
#include "tools/lab/plan.h"
#include "tools/process/spawn.h"

namespace heddle::tools {

// How heddle's programs are started in a lab: their flags, cgroup and namespace. `netns` is not owned.
Result<SpawnSpec> control_program(const LabLayout& layout, const LabOptions& options, int netns);
Result<SpawnSpec> agent_program(const LabLayout& layout, const LabOptions& options, const LabNode& node,
                                int netns);
Result<SpawnSpec> proxy_program(const LabLayout& layout, const LabOptions& options, const LabNode& node,
                                int netns);

// Makes the secret by which control knows a node's agent: ROOT/tokens/NODE.token holds the secret for
// control, ROOT/nodes/NODE/token "NODE:SECRET" for the agent.
Result<> make_node_token(const LabLayout& layout, const std::string& node);

}  // namespace heddle::tools
