// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/views/node.h"

namespace CLI {
class App;
}

namespace heddle::tools {

// --run-dir, --lab, --kubeconfig and what belongs to them: where a command looks. `scope` outlives the
// parsing.
void add_scope_flags(CLI::App& command, Scope& scope);

}  // namespace heddle::tools
