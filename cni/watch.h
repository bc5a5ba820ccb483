// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"
#include "cni/installer.h"

namespace heddle::cni {

// Installs, then keeps it so until SIGTERM or SIGINT: whoever rewrites, removes or adds a configuration, or
// removes the binary, finds heddle back (inotify(7); throttled). Ending leaves the entry where it is: pods
// that start before the next version runs must not start unmeshed. Only start-up failures are errors. Blocks
// the calling thread.
Result<> watch(const InstallOptions& options);

}  // namespace heddle::cni
