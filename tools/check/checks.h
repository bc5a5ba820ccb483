// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "tools/check/verdicts.h"
#include "tools/cluster/cluster.h"
#include "tools/views/node.h"

// The groups of `heddle check`. Each adds what it finds and goes on after whatever fails.
namespace heddle::tools {

// Before an installation: whether this machine could run heddle.
void check_machine(Verdicts& out);

// Before an installation: whether heddle could be installed into this cluster by who asks.
void check_cluster_before(Verdicts& out, Cluster& cluster);

// What was installed into the cluster: control plane, DaemonSets, webhook, taints.
void check_installation(Verdicts& out, Cluster& cluster);

// Running nodes: agents, proxies, and every meshed pod of theirs.
void check_nodes(Verdicts& out, const std::vector<NodeView>& nodes);

}  // namespace heddle::tools
