// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "control/source/kubernetes/access.h"

namespace heddle::source::kubernetes {

// Reads the kubeconfig that is named, else those of KUBECONFIG, else a pod's environment. Of the files of
// KUBECONFIG some may be missing, as for kubectl.
Result<Access> find_access(const std::string& kubeconfig, const std::string& context, bool allow_insecure);

}  // namespace heddle::source::kubernetes
