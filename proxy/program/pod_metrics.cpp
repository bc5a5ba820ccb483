// SPDX-License-Identifier: Apache-2.0
#include "proxy/program/pod_metrics.h"

#include "proxy/telemetry/exposition.h"

namespace heddle::proxy {

void PodMetrics::upsert(const Pod& pod) {
  const std::lock_guard lock(mutex_);
  pods_[pod.id] = {join_labels(render_label("namespace", pod.ns), render_label("pod", pod.name)), pod.load};
}

void PodMetrics::remove(const Pod& pod) {
  const std::lock_guard lock(mutex_);
  pods_.erase(pod.id);
}

std::string PodMetrics::write(MetricsRegistry::Format format) const {
  Exposition out;
  const std::lock_guard lock(mutex_);
  for (const auto& [id, each] : pods_) {
    out.add("heddle_pod_connections", "Connections of the pod that are served now", Exposition::Type::gauge,
            each.labels, each.load->connections.load(std::memory_order_relaxed));
    out.add("heddle_pod_buffered_bytes", "Bytes held for slow readers of the pod's connections",
            Exposition::Type::gauge, each.labels, each.load->buffered_bytes.load(std::memory_order_relaxed));
    out.add("heddle_pod_streams_refused_total",
            "HTTP/2 streams refused because the pod held as many bytes as it may", Exposition::Type::counter,
            each.labels, each.load->streams_refused.load(std::memory_order_relaxed));
  }
  return out.write(format);
}

}  // namespace heddle::proxy
