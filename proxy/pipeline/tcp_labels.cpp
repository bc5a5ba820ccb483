// SPDX-License-Identifier: Apache-2.0
#include "proxy/pipeline/tcp_labels.h"

namespace heddle::proxy {
namespace {

// Kubernetes' label names may hold what Prometheus' may not ("pod-template-hash", "app.kubernetes.io/name"):
// such characters become underscores, as in Prometheus' own service discovery.
std::string metric_name(std::string_view name) {
  std::string out(name);
  for (char& c : out) {
    const bool allowed =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!allowed) c = '_';
  }
  if (!out.empty() && out.front() >= '0' && out.front() <= '9') out.insert(0, 1, '_');
  return out;
}

}  // namespace

void add_label(Labels& labels, std::string_view name, std::string_view value) {
  if (!labels.empty()) labels += ',';
  labels += render_label(name, value);
}

void add_labels(Labels& labels, std::string_view prefix, const std::map<std::string, std::string>& more) {
  for (const auto& [name, value] : more) add_label(labels, std::string(prefix) + metric_name(name), value);
}

Labels pod_labels(Direction direction, const Pod& pod) {
  Labels labels;
  add_label(labels, "direction", direction == Direction::outbound ? "outbound" : "inbound");
  add_label(labels, "namespace", pod.ns);
  add_label(labels, "pod", pod.name);
  for (const auto& [name, value] : pod.labels) {
    const std::string shown = metric_name(name);
    if (shown != "namespace" && shown != "pod" && shown != "direction") add_label(labels, shown, value);
  }
  return labels;
}

}  // namespace heddle::proxy
