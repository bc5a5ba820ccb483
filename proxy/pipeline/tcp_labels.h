// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "proxy/pods/pod.h"
#include "proxy/telemetry/telemetry.h"

namespace heddle::proxy {

// direction, namespace, pod and the pod's own labels: what every series of a pod carries (a sidecar's
// Prometheus target would add them; one proxy speaks for many pods).
Labels pod_labels(Direction direction, const Pod& pod);

// Appends `,name="value"` to labels that are not empty.
void add_label(Labels& labels, std::string_view name, std::string_view value);

// Appends an endpoint's or a service's labels with a prefix ("dst_").
void add_labels(Labels& labels, std::string_view prefix, const std::map<std::string, std::string>& more);

}  // namespace heddle::proxy
