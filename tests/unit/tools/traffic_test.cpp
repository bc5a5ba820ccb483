// SPDX-License-Identifier: Apache-2.0
#include "tools/views/traffic.h"

#include <gmock/gmock.h>

namespace heddle::tools {
namespace {

const std::string scrape = R"(
request_total{direction="inbound",namespace="shop",pod="web-1",deployment="web",tls="true",client_id="client.shop"} 20
request_total{direction="inbound",namespace="shop",pod="web-2",deployment="web"} 20
response_total{direction="inbound",namespace="shop",pod="web-1",deployment="web",classification="success",status_code="200"} 19
response_total{direction="inbound",namespace="shop",pod="web-1",deployment="web",classification="failure",status_code="500"} 1
response_total{direction="inbound",namespace="shop",pod="web-2",deployment="web",classification="success",status_code="200"} 20
response_latency_ms_bucket{direction="inbound",namespace="shop",pod="web-1",deployment="web",le="10"} 40
response_latency_ms_bucket{direction="inbound",namespace="shop",pod="web-1",deployment="web",le="+Inf"} 40
tcp_read_bytes_total{direction="inbound",peer="src",namespace="shop",pod="web-1",deployment="web"} 2000
tcp_read_bytes_total{direction="inbound",peer="dst",namespace="shop",pod="web-1",deployment="web"} 9999
tcp_open_connections{direction="inbound",peer="src",namespace="shop",pod="web-1",deployment="web"} 3
tcp_open_total{direction="inbound",peer="src",namespace="shop",pod="web-1",deployment="web",tls="true",client_id="client.shop"} 5
tcp_open_total{direction="inbound",peer="dst",namespace="shop",pod="web-1",deployment="web",tls="no_identity"} 5
tcp_open_total{direction="outbound",peer="dst",namespace="shop",pod="client",tls="true",server_id="web.shop",dst_namespace="shop",dst_pod="web-1"} 4
tcp_open_total{direction="outbound",peer="dst",namespace="shop",pod="client",tls="no_identity",no_tls_reason="not_provided_by_service_discovery",target_addr="10.9.9.9:80"} 2
)";

TEST(Stat, AddsUpAWorkloadsPods) {
  const auto samples = *parse_prometheus(scrape);
  const auto rows = stat_rows(samples, samples, 2, StatBy::deployment, "inbound");
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].name, "deploy/web");
  EXPECT_DOUBLE_EQ(rows[0].requests_per_s, 20);
  EXPECT_DOUBLE_EQ(rows[0].success, 39.0 / 40);
  EXPECT_DOUBLE_EQ(rows[0].p50_ms, 5);
  EXPECT_DOUBLE_EQ(rows[0].read_per_s, 1000);
  EXPECT_DOUBLE_EQ(rows[0].connections, 3);
}

TEST(Stat, KeepsPodsApartWhenAsked) {
  const auto samples = *parse_prometheus(scrape);
  const auto rows = stat_rows(samples, samples, 1, StatBy::pod, "inbound");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].name, "web-2");
  EXPECT_DOUBLE_EQ(rows[1].success, 1);
}

TEST(Edges, NameBothEndsAndWhyAConnectionIsInClear) {
  const auto rows = edge_rows(*parse_prometheus(scrape));
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].src, "(no identity)");
  EXPECT_EQ(rows[0].dst, "shop/web-2");
  EXPECT_EQ(rows[1].src, "client.shop");
  EXPECT_EQ(rows[1].dst, "shop/web-1");
  EXPECT_EQ(rows[1].connections, 5);
  EXPECT_EQ(rows[1].requests, 20);
  EXPECT_EQ(rows[2].dst, "10.9.9.9:80");
  EXPECT_EQ(rows[2].reason, "not_provided_by_service_discovery");
  EXPECT_EQ(rows[3].dst, "shop/web-1");
  EXPECT_EQ(rows[3].server_id, "web.shop");
  EXPECT_EQ(rows[3].connections, 4);
}

}  // namespace
}  // namespace heddle::tools
