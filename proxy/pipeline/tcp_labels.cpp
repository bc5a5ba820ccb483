// SPDX-License-Identifier: Apache-2.0
#include "proxy/pipeline/tcp_labels.h"

namespace heddle::proxy {

void add_label(Labels& labels, std::string_view name, std::string_view value) {
  if (!labels.empty()) labels += ',';
  labels += render_label(name, value);
}

void add_labels(Labels& labels, std::string_view prefix, const std::map<std::string, std::string>& more) {
  for (const auto& [name, value] : more) add_label(labels, std::string(prefix) + name, value);
}

Labels pod_labels(Direction direction, const Pod& pod) {
  Labels labels;
  add_label(labels, "direction", direction == Direction::outbound ? "outbound" : "inbound");
  add_label(labels, "namespace", pod.ns);
  add_label(labels, "pod", pod.name);
  for (const auto& [name, value] : pod.labels) {
    if (name != "namespace" && name != "pod" && name != "direction") add_label(labels, name, value);
  }
  return labels;
}

}  // namespace heddle::proxy
