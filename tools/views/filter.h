// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <set>
#include <string>

#include "tools/metrics/prometheus.h"

namespace heddle::tools {

// PURE: which pods a view is about.
struct Filter {
  std::string ns;                             // empty: every namespace
  std::optional<std::set<std::string>> pods;  // NAMESPACE/NAME of those that a label selector chose

  bool takes(const std::string& pod_ns, const std::string& pod_name) const {
    if (!ns.empty() && pod_ns != ns) return false;
    return !pods || pods->contains(pod_ns + "/" + pod_name);
  }
  // A series without a pod of its own belongs to the node: it is taken when nothing is left out.
  bool takes(const Sample& sample) const { return takes(sample.label("namespace"), sample.label("pod")); }
};

}  // namespace heddle::tools
