// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "proxy/pods/pod.h"
#include "proxy/telemetry/registry.h"

namespace heddle::proxy {

// What each pod uses, may use and was refused, for scrapes: the families heddle_pod_*. Pods come and go on
// the link thread, scrapes come on another.
class PodMetrics {
 public:
  void upsert(const Pod& pod);
  void remove(const Pod& pod);
  // Complete families, for MetricsRegistry::add_collector().
  std::string write(MetricsRegistry::Format format) const;

 private:
  struct Each {
    Labels labels;
    std::shared_ptr<const PodLoad> load;
  };
  mutable std::mutex mutex_;  // guards pods_
  std::map<std::uint32_t, Each> pods_;
};

}  // namespace heddle::proxy
