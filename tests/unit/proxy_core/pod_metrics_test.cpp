// SPDX-License-Identifier: Apache-2.0
#include "proxy/program/pod_metrics.h"

#include <gtest/gtest.h>

namespace heddle::proxy {
namespace {

TEST(PodMetrics, ShowWhatEachPodUsesUntilItLeaves) {
  PodMetrics metrics;
  Pod pod;
  pod.id = 7;
  pod.ns = "shop";
  pod.name = "web-0";
  metrics.upsert(pod);
  pod.load->connections = 3;
  pod.load->buffered_bytes = 4096;
  pod.load->streams_refused = 2;
  pod.load->requests = 5;
  pod.load->limits.requests = 20;
  pod.load->count(Limit::requests);
  pod.load->refusals.count(Refusal::flood);
  const std::string text = metrics.write(MetricsRegistry::Format::prometheus);
  for (const char* line : {R"(heddle_pod_connections{namespace="shop",pod="web-0"} 3)",
                           R"(heddle_pod_buffered_bytes{namespace="shop",pod="web-0"} 4096)",
                           R"(heddle_pod_streams_refused_total{namespace="shop",pod="web-0"} 2)",
                           R"(heddle_pod_requests{namespace="shop",pod="web-0"} 5)",
                           R"(heddle_pod_limit{namespace="shop",pod="web-0",limit="requests"} 20)",
                           R"(heddle_pod_limit{namespace="shop",pod="web-0",limit="connections"} 10000)",
                           R"(heddle_pod_limited_total{namespace="shop",pod="web-0",limit="requests"} 1)",
                           R"(heddle_pod_limited_total{namespace="shop",pod="web-0",limit="connections"} 0)",
                           R"(heddle_pod_refused_total{namespace="shop",pod="web-0",reason="flood"} 1)",
                           R"(heddle_pod_refused_total{namespace="shop",pod="web-0",reason="malformed"} 0)"})
    EXPECT_NE(text.find(line), std::string::npos) << line << "\n" << text;
  metrics.remove(pod);
  EXPECT_EQ(metrics.write(MetricsRegistry::Format::prometheus).find("web-0"), std::string::npos);
}

}  // namespace
}  // namespace heddle::proxy
