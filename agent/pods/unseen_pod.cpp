// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/unseen_pod.h"

#include <algorithm>

namespace heddle::agent {
namespace {

bool is_excluded(const std::string& ns, const NodeFacts& node) {
  const auto& excluded = node.excluded_namespaces;
  return ns == node.control_namespace || std::find(excluded.begin(), excluded.end(), ns) != excluded.end();
}

}  // namespace

Result<> may_start_unseen(const SandboxFacts& facts, bool annotations_told, const PodAnswer& answer,
                          const NodeFacts& node) {
  if (is_excluded(facts.pod_namespace, node)) return {};
  const std::string pod = facts.pod_namespace + "/" + facts.pod_name;
  const auto own = parse_annotations(facts.annotations, {}).inject;
  if (own.has_value() && !*own) return {};
  if (own.has_value()) {
    return make_error(
        Errc::unavailable,
        "pod " + pod + " is to be meshed, and its ServiceAccount is not known: " + answer.problem);
  }
  if (!answer.namespace_annotations) {
    return make_error(Errc::unavailable,
                      "neither pod " + pod + " nor its namespace is known: " + answer.problem);
  }
  const bool by_namespace = parse_annotations({}, *answer.namespace_annotations).inject.value_or(false);
  if (by_namespace) {
    return make_error(
        Errc::unavailable,
        "pod " + pod + " may be meshed, as its namespace is, and is not known: " + answer.problem);
  }
  if (!annotations_told) {
    return make_error(Errc::unavailable, "the runtime tells no annotations, and those of pod " + pod +
                                             " are not known: " + answer.problem);
  }
  return {};
}

}  // namespace heddle::agent
