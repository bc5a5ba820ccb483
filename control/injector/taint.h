// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/source/snapshot.h"

// Which nodes lose the startup taint, and by which patch. PURE.
namespace heddle::control {

// Nodes that have it although a pod of DaemonSet heddle-agent is Ready there, and one of heddle-proxy if the
// node has any.
std::vector<std::string> nodes_to_free(const source::Snapshot& snapshot, std::string_view control_namespace);

// A JSON patch that removes the taint from this Node, and fails if the taint is not where it was; nullopt:
// the node has none.
Result<std::optional<std::string>> untaint_patch(std::string_view node_json);

}  // namespace heddle::control
