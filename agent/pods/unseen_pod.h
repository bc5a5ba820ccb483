// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "agent/pods/pod_spec.h"
#include "base/result.h"

// An ADD whose pod the source has not shown yet. Pure.
namespace heddle::agent {

// What asking the API server for one pod brought.
struct PodAnswer {
  std::optional<SourcePod> pod;
  std::optional<Annotations> namespace_annotations;  // the last that are known, where the pod is not
  std::string problem;                               // why there is no pod
};

// Whether a sandbox may start whose pod could not be had: only if it is certain from what the runtime told
// and what is last known of the namespace that it is not meshed. `annotations_told`: the runtime tells the
// pod's annotations at all. Errc::unavailable: it is, or may be, meshed; the runtime shall try again.
Result<> may_start_unseen(const SandboxFacts& facts, bool annotations_told, const PodAnswer& answer,
                          const NodeFacts& node);

}  // namespace heddle::agent
