// SPDX-License-Identifier: Apache-2.0
#include "tools/views/traffic.h"

#include <cmath>

namespace heddle::tools {
namespace {

std::pair<std::string, std::string> group_of(const Sample& sample, StatBy by) {
  const auto& ns = sample.label("namespace");
  if (by == StatBy::ns) return {ns, ""};
  if (by == StatBy::deployment && !sample.label("deployment").empty())
    return {ns, "deploy/" + sample.label("deployment")};
  return {ns, sample.label("pod")};
}

struct Sums {
  double requests = 0, success = 0, failure = 0, connections = 0, read = 0, write = 0;
  std::map<double, double> buckets;
};

}  // namespace

std::vector<StatRow> stat_rows(const std::vector<Sample>& delta, const std::vector<Sample>& now,
                               double seconds, StatBy by, const std::string& direction) {
  std::map<std::pair<std::string, std::string>, Sums> groups;
  for (const auto& sample : delta) {
    if (sample.label("direction") != direction) continue;
    auto& sums = groups[group_of(sample, by)];
    if (sample.name == "request_total") sums.requests += sample.value;
    if (sample.name == "response_total") {
      (sample.label("classification") == "failure" ? sums.failure : sums.success) += sample.value;
    }
    if (sample.name == "response_latency_ms_bucket") sums.buckets[bucket_bound(sample)] += sample.value;
    // A connection is counted at both of its ends; the one towards the client is what the pod's peers see.
    if (sample.label("peer") == "dst") continue;
    if (sample.name == "tcp_read_bytes_total") sums.read += sample.value;
    if (sample.name == "tcp_write_bytes_total") sums.write += sample.value;
  }
  for (const auto& sample : now) {
    if (sample.name == "tcp_open_connections" && sample.label("direction") == direction &&
        sample.label("peer") != "dst") {
      groups[group_of(sample, by)].connections += sample.value;
    }
  }
  std::vector<StatRow> out;
  for (const auto& [group, sums] : groups) {
    if (group.first.empty() && group.second.empty()) continue;
    StatRow row;
    row.ns = group.first;
    row.name = group.second;
    row.requests_per_s = sums.requests / seconds;
    row.success = sums.success + sums.failure > 0 ? sums.success / (sums.success + sums.failure) : 1;
    row.p50_ms = histogram_quantile(0.5, sums.buckets);
    row.p95_ms = histogram_quantile(0.95, sums.buckets);
    row.p99_ms = histogram_quantile(0.99, sums.buckets);
    row.connections = sums.connections;
    row.read_per_s = sums.read / seconds;
    row.write_per_s = sums.write / seconds;
    out.push_back(std::move(row));
  }
  return out;
}

std::vector<EdgeRow> edge_rows(const std::vector<Sample>& samples) {
  std::map<std::tuple<std::string, std::string, std::string, std::string, std::string, std::string>, EdgeRow>
      edges;
  for (const auto& sample : samples) {
    const bool requests = sample.name == "request_total";
    if (!requests && sample.name != "tcp_open_total") continue;
    const bool outbound = sample.label("direction") == "outbound";
    // Each end that is a mesh connection: towards the destination going out, towards the source coming in.
    // Requests have that end's labels only.
    if (!requests && sample.label("peer") != (outbound ? "dst" : "src")) continue;
    const auto own = sample.label("namespace") + "/" + sample.label("pod");
    std::string src = own;
    std::string dst = own;
    if (outbound) {
      dst = sample.label("dst_pod").empty() ? sample.label("target_addr")
                                            : sample.label("dst_namespace") + "/" + sample.label("dst_pod");
      if (dst.empty()) dst = sample.label("authority");
    } else {
      src = sample.label("client_id");
      if (src.empty()) src = "(no identity)";
    }
    auto& row = edges[{src, dst, sample.label("client_id"), sample.label("server_id"), sample.label("tls"),
                       sample.label("no_tls_reason")}];
    row.src = src;
    row.dst = dst;
    row.client_id = sample.label("client_id");
    row.server_id = sample.label("server_id");
    row.tls = sample.label("tls");
    row.reason = sample.label("no_tls_reason");
    (requests ? row.requests : row.connections) += sample.value;
  }
  std::vector<EdgeRow> out;
  for (auto& [key, row] : edges) out.push_back(std::move(row));
  return out;
}

}  // namespace heddle::tools
