// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"
#include "cni/installer.h"

namespace heddle::cni {

// Installs, then keeps it so until SIGTERM or SIGINT: whoever rewrites, removes or adds a configuration, or
// removes the binary, finds heddle back (inotify(7); throttled). Ending leaves the entry where it is: pods
// that start before the next version runs must not start unmeshed. With options.leave_with_agent it then
// waits for the agent, which ends at the same time, to say whether it is replaced or heddle leaves the node,
// and uninstalls in the latter case. Errors: at start-up, and of uninstalling. Blocks the calling thread.
Result<> watch(const InstallOptions& options);

}  // namespace heddle::cni
