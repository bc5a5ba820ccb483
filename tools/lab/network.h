// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "tools/lab/plan.h"

namespace heddle::tools {

// Network namespaces bound to files, and the lab's wiring: one "fabric" namespace with a bridge (172.30.0.1,
// fd00:172:30::1), every node joined to it by a veth pair and routed to every other node's pods.

// Makes a new namespace and binds it to `path` (a file, made here). lo is up.
Result<> make_netns(const std::string& path);
// Unbinds and removes the file; the namespace goes when its last process does. Idempotent.
void drop_netns(const std::string& path);

Result<> make_fabric(const std::string& fabric_netns);
// `nodes` are all nodes of the lab: routes to the pods of each are made.
Result<> join_fabric(const std::string& fabric_netns, const std::string& node_netns, const LabNode& node,
                     const std::vector<LabNode>& nodes);

// Feeds `script` to `ip -batch -` inside the namespace.
Result<> run_ip(const std::string& netns, const std::string& script);
// Loads an nftables script inside the namespace (nft -f -).
Result<> run_nft(const std::string& netns, const std::string& script);

}  // namespace heddle::tools
