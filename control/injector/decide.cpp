// SPDX-License-Identifier: Apache-2.0
#include "control/injector/decide.h"

#include <algorithm>

#include "control/source/annotations.h"

namespace heddle::control {
namespace {

std::string name_of(const AdmittedPod& pod) {
  return pod.meta.ns + "/" + (pod.meta.name.empty() ? pod.generate_name + "*" : pod.meta.name);
}

InjectorDecision leave(InjectorOutcome outcome, std::string warning = {}) {
  InjectorDecision out;
  out.outcome = outcome;
  if (!warning.empty()) out.answer.warnings.push_back("heddle: " + std::move(warning));
  return out;
}

InjectorDecision mark(const AdmittedPod& pod) {
  InjectorDecision out;
  out.outcome = InjectorOutcome::node;
  const auto found = pod.meta.annotations.find(mode_annotation);
  if (found == pod.meta.annotations.end() || found->second != "node") {
    out.answer.annotations.emplace(mode_annotation, "node");
  }
  return out;
}

InjectorDecision by_mode(const InjectorRules& rules, const AdmissionRequest& request,
                         const source::Namespace* ns) {
  const AdmittedPod& pod = request.pod;
  const std::string* mode = source::annotation(pod.meta, ns, mode_annotation);
  if (mode == nullptr || *mode == "node") return mark(pod);
  if (*mode != "sidecar") {
    auto out = mark(pod);
    out.answer.warnings.push_back("heddle: " + std::string(mode_annotation) +
                                  " is neither node nor sidecar; node holds for pod " + name_of(pod));
    return out;
  }
  if (rules.sidecars != nullptr) return rules.sidecars->inject(request, ns);
  return leave(InjectorOutcome::sidecar_missing,
               "pod " + name_of(pod) +
                   " gets no proxy container: this heddle-control cannot inject one. Remove " +
                   std::string(mode_annotation) + ": sidecar to have the node's proxy mesh it");
}

}  // namespace

InjectorDecision decide_injection(const InjectorRules& rules, const AdmissionRequest& request,
                                  const source::Namespace* ns) {
  const AdmittedPod& pod = request.pod;
  if (!request.complaint.empty()) {
    return leave(InjectorOutcome::unreadable,
                 "the pod could not be read and is left as it is: " + request.complaint);
  }
  if (!request.pod_create) return leave(InjectorOutcome::not_a_pod);
  if (request.ns == "kube-system" || request.ns == rules.control_namespace) {
    return leave(InjectorOutcome::excluded);
  }
  const bool says_itself = pod.meta.annotations.contains(source::inject_annotation);
  const std::string* inject = source::annotation(pod.meta, ns, source::inject_annotation);
  if (ns == nullptr && !says_itself) {
    return leave(InjectorOutcome::unknown_namespace);  // the node's agent decides by itself
  }
  if (inject == nullptr || *inject == "disabled") return leave(InjectorOutcome::not_asked);
  if (*inject != "enabled" && *inject != "ingress") {
    return leave(InjectorOutcome::not_asked, std::string(source::inject_annotation) +
                                                 " is not enabled, ingress or disabled: pod " + name_of(pod) +
                                                 " is not meshed");
  }
  if (pod.host_network) {
    return leave(InjectorOutcome::host_network,
                 says_itself ? "pod " + name_of(pod) + " is on the host's network, which is never meshed"
                             : std::string());
  }
  if (std::ranges::find(pod.containers, "linkerd-proxy") != pod.containers.end()) {
    return leave(InjectorOutcome::already_injected);
  }
  return by_mode(rules, request, ns);
}

}  // namespace heddle::control
