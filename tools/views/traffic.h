// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tools/metrics/prometheus.h"

namespace heddle::tools {

// Golden figures of one thing during one window.
struct StatRow {
  std::string ns, name;  // pod or workload
  double requests_per_s = 0;
  double success = 1;                         // share of responses classified as success; 1 without any
  double p50_ms = 0, p95_ms = 0, p99_ms = 0;  // NaN without requests
  double connections = 0;                     // open now
  double read_per_s = 0, write_per_s = 0;     // bytes
};

// How series are grouped.
enum class StatBy { pod, deployment, ns };

// Figures per group from what the proxies of all nodes counted during `seconds`: `delta` is
// difference(before, after), `now` the later scrape (for gauges). `direction`: inbound or outbound.
std::vector<StatRow> stat_rows(const std::vector<Sample>& delta, const std::vector<Sample>& now,
                               double seconds, StatBy by, const std::string& direction);

// Who talks to whom and how it is secured.
struct EdgeRow {
  std::string src, dst;  // NAMESPACE/NAME, an identity, or an address, the best that is known
  std::string client_id, server_id;
  std::string tls;         // "true", "local" (joined on the node), "no_identity", ... as the metrics say
  std::string reason;      // why not "true"
  double connections = 0;  // opened since the proxies started, one per wire
  double requests = 0;     // HTTP, which many share a pooled connection for
};
std::vector<EdgeRow> edge_rows(const std::vector<Sample>& samples);

}  // namespace heddle::tools
