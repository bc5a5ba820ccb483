// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <chrono>
#include <string>

#include "tools/cluster/cluster.h"

namespace heddle::tools {

// `heddle uninstall --apply`: deletes the installation in namespace `flags.control_namespace`, and waits
// until it is gone, agents first. What was chosen at the installation is taken from the cluster; `chosen`
// (the command line's) goes above it. Prints what it does; the exit code.
int apply_uninstall(const ClusterFlags& flags, const boost::json::object& chosen,
                    std::chrono::seconds timeout);

}  // namespace heddle::tools
