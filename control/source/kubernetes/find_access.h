// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "control/source/kubernetes/access.h"

namespace heddle::source::kubernetes {

// Reads the kubeconfig that is named; else those of KUBECONFIG, of which some may be missing; else what a pod
// finds (KUBERNETES_SERVICE_HOST and the files of its ServiceAccount); else ~/.kube/config. What comes from
// kubeconfigs can be read again.
Result<Access> find_access(const std::string& kubeconfig, const std::string& context, bool allow_insecure);

}  // namespace heddle::source::kubernetes
