// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "control/injector/review.h"
#include "control/source/objects.h"

// What becomes of a pod that is about to be made. PURE.
namespace heddle::control {

// On a pod or its namespace: who meshes its pods, node (default) or sidecar. The injector writes it on every
// pod that heddle is going to mesh.
inline constexpr std::string_view mode_annotation = "heddle.io/mode";

enum class InjectorOutcome : std::uint8_t {
  node,               // marked: the node's proxy meshes it
  not_asked,          // neither the pod nor its namespace asks for it, or it declines
  not_a_pod,          // not the creation of a Pod
  excluded,           // kube-system, or the control plane's own namespace
  host_network,       // cannot be meshed
  already_injected,   // has a linkerd-proxy
  sidecar_missing,    // asked for a sidecar, and there is nothing that makes one
  sidecar,            // got one
  unreadable,         // the pod is not as it should be
  unknown_namespace,  // not seen yet, and the pod does not say by itself
};
inline constexpr std::array<std::string_view, 10> injector_outcome_names = {
    "node",         "not_asked",        "not_a_pod",       "excluded",
    "host_network", "already_injected", "sidecar_missing", "sidecar",
    "unreadable",   "unknown_namespace"};

struct InjectorDecision {
  InjectorOutcome outcome = InjectorOutcome::not_asked;
  AdmissionAnswer answer;
};

// Adds a sidecar to a pod. Thread: the webhook's.
class SidecarInjection {
 public:
  virtual ~SidecarInjection() = default;
  virtual InjectorDecision inject(const AdmissionRequest& request, const source::Namespace* ns) = 0;
};

struct InjectorRules {
  std::string control_namespace = "heddle";
  SidecarInjection* sidecars = nullptr;  // null: none are made
};

// `ns`: the pod's namespace, null if it is not known.
InjectorDecision decide_injection(const InjectorRules& rules, const AdmissionRequest& request,
                                  const source::Namespace* ns);

}  // namespace heddle::control
