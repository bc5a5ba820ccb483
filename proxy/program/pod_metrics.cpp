// SPDX-License-Identifier: Apache-2.0
#include "proxy/program/pod_metrics.h"

#include "proxy/telemetry/exposition.h"

namespace heddle::proxy {
namespace {

using Type = Exposition::Type;

void write_use(Exposition& out, const Labels& labels, const PodLoad& load) {
  out.add("heddle_pod_connections", "Connections of the pod that are served now", Type::gauge, labels,
          load.connections.load(std::memory_order_relaxed));
  out.add("heddle_pod_requests", "Requests of the pod that are answered now", Type::gauge, labels,
          load.requests.load(std::memory_order_relaxed));
  out.add("heddle_pod_buffered_bytes", "Bytes held for slow readers of the pod's connections", Type::gauge,
          labels, load.buffered_bytes.load(std::memory_order_relaxed));
  out.add("heddle_pod_streams_refused_total",
          "HTTP/2 streams refused because the pod held as many bytes as it may", Type::counter, labels,
          load.streams_refused.load(std::memory_order_relaxed));
}

void write_limit(Exposition& out, const Labels& pod, Limit limit, std::uint64_t value) {
  out.add("heddle_pod_limit", "What the pod may use at most", Type::gauge,
          join_labels(pod, render_label("limit", to_string(limit))), value);
}

void write_limits(Exposition& out, const Labels& labels, const LiveLimits& limits) {
  write_limit(out, labels, Limit::connections, limits.connections.load(std::memory_order_relaxed));
  write_limit(out, labels, Limit::requests, limits.requests.load(std::memory_order_relaxed));
  write_limit(out, labels, Limit::accept_rate, limits.accepts_per_second.load(std::memory_order_relaxed));
  write_limit(out, labels, Limit::buffered_bytes, limits.buffered_bytes.load(std::memory_order_relaxed));
}

// Of all limits, so that an alert on a rate sees the first time too.
void write_limited(Exposition& out, const Labels& labels, const PodLoad& load) {
  for (std::size_t i = 0; i < limit_count; ++i) {
    out.add("heddle_pod_limited_total", "How often something of the pod was refused or had to wait, by limit",
            Type::counter, join_labels(labels, render_label("limit", to_string(static_cast<Limit>(i)))),
            load.limited[i].load(std::memory_order_relaxed));
  }
}

void write_shedding(Exposition& out, const Labels& labels, const PodLoad& load) {
  const unsigned bits = load.shedding.load(std::memory_order_relaxed);
  for (const Limit limit : {Limit::descriptors, Limit::memory}) {
    out.add("heddle_pod_shedding",
            "1 while nothing new is taken from the pod, as it uses most of what the process is short of",
            Type::gauge, join_labels(labels, render_label("limit", to_string(limit))),
            (bits >> static_cast<unsigned>(limit)) & 1U);
  }
}

void write_refusals(Exposition& out, const Labels& labels, const Refusals& refusals) {
  for (std::size_t i = 0; i < refusal_count; ++i) {
    const auto why = static_cast<Refusal>(i);
    out.add("heddle_pod_refused_total",
            "Peers of the pod's connections that were turned away for what they did",
            Exposition::Type::counter, join_labels(labels, render_label("reason", to_string(why))),
            refusals.of(why));
  }
}

}  // namespace

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
    write_use(out, each.labels, *each.load);
    write_limits(out, each.labels, each.load->limits);
    write_limited(out, each.labels, *each.load);
    write_shedding(out, each.labels, *each.load);
    write_refusals(out, each.labels, each.load->refusals);
  }
  return out.write(format);
}

}  // namespace heddle::proxy
