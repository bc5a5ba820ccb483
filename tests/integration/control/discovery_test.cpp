// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "client.h"
#include "process.h"

namespace heddle::test {
namespace {

using ::testing::HasSubstr;

constexpr const char* base_yaml = R"(
{apiVersion: v1, kind: Namespace, metadata: {name: shop, annotations: {linkerd.io/inject: enabled}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.10, ports: [{name: http, port: 80, targetPort: http}]}
---
{apiVersion: v1, kind: Pod, metadata: {name: web-1, namespace: shop}, spec: {nodeName: n1}, status: {podIP: 10.1.0.1}}
)";

std::string slice(const std::vector<std::string>& addresses, int port = 8080) {
  std::string out =
      "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-a, namespace: shop, "
      "labels: {kubernetes.io/service-name: web}}, ports: [{name: http, port: " +
      std::to_string(port) + "}], endpoints: [";
  for (const std::string& address : addresses) {
    out += "{addresses: [" + address + "], targetRef: {kind: Pod, name: web-" + address.substr(7) + "}},";
  }
  return out + "]}\n";
}

class Discovery : public ::testing::Test {
 protected:
  void SetUp() override {
    control_.put("base.yaml", base_yaml);
    control_.put("slice.yaml", slice({"10.1.0.1", "10.1.0.2"}));
    control_.start();
    channel_.emplace(control_.destination_address(), control_.state("trust-anchors.pem"));
  }
  GetClient get(const std::string& path = "web.shop.svc.cluster.local:80") const {
    return GetClient(*channel_, path, R"({"ns":"shop","nodeName":"n1","pod":"client"})");
  }

  ControlProcess control_;
  std::optional<Channel> channel_;
};

TEST_F(Discovery, StreamsEndpointsAndOnlyWhatChanges) {
  GetClient stream = get();
  auto update = stream.next();
  ASSERT_TRUE(update) << stream.finish().message;
  ASSERT_EQ(update->add().addrs_size(), 2);
  const auto& first = update->add().addrs(0);
  EXPECT_EQ(first.addr().ip().ipv4(), 0x0a010001U);
  EXPECT_EQ(first.addr().port(), 8080U);
  EXPECT_EQ(first.tls_identity().dns_like_identity().name(),
            "default.shop.serviceaccount.identity.heddle.cluster.local");
  EXPECT_TRUE(first.protocol_hint().has_h2());
  EXPECT_FALSE(first.protocol_hint().has_opaque_transport());
  EXPECT_FALSE(update->add().addrs(1).has_tls_identity()) << "no such pod";

  control_.put("slice.yaml", slice({"10.1.0.2", "10.1.0.3"}));
  update = stream.next();
  ASSERT_TRUE(update);
  ASSERT_EQ(update->remove().addrs_size(), 1);
  EXPECT_EQ(update->remove().addrs(0).ip().ipv4(), 0x0a010001U);
  update = stream.next();
  ASSERT_TRUE(update);
  ASSERT_EQ(update->add().addrs_size(), 1) << update->ShortDebugString();
  EXPECT_EQ(update->add().addrs(0).addr().ip().ipv4(), 0x0a010003U);

  control_.remove("slice.yaml");
  update = stream.next();
  ASSERT_TRUE(update);
  EXPECT_TRUE(update->no_endpoints().exists());

  control_.remove("base.yaml");
  update = stream.next();
  ASSERT_TRUE(update);
  EXPECT_TRUE(update->has_no_endpoints());
  EXPECT_FALSE(update->no_endpoints().exists());
}

TEST_F(Discovery, RefusesWhatItCannotAnswer) {
  for (const auto& [path, code] :
       std::vector<std::pair<std::string, int>>{{"10.1.0.1:8080", invalid_argument},
                                                {"none.shop.svc.cluster.local:80", not_found},
                                                {"web.shop:80", invalid_argument},
                                                {"", invalid_argument}}) {
    GetClient stream = get(path);
    EXPECT_FALSE(stream.next()) << path;
    const Status status = stream.finish();
    EXPECT_EQ(status.code, code) << path << ": " << status.message;
  }
  EXPECT_EQ(call_unknown(*channel_).code, unimplemented);
}

TEST_F(Discovery, FollowsAnAddressFromUnknownToPodToService) {
  ProfileClient stream(*channel_, "10.9.0.9:80");
  auto profile = stream.next();
  ASSERT_TRUE(profile) << stream.finish().message;
  EXPECT_EQ(profile->fully_qualified_name(), "");
  EXPECT_FALSE(profile->has_endpoint());

  control_.put("more.yaml",
               "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: shop}, "
               "status: {podIP: 10.9.0.9}}\n");
  profile = stream.next();
  ASSERT_TRUE(profile);
  EXPECT_EQ(profile->endpoint().metric_labels().at("pod"), "p");
  EXPECT_TRUE(profile->endpoint().has_tls_identity());

  control_.put("more.yaml",
               "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: shop, annotations: "
               "{config.linkerd.io/opaque-ports: \"80\"}}, spec: {clusterIP: 10.9.0.9, ports: "
               "[{port: 80}]}}\n");
  profile = stream.next();
  ASSERT_TRUE(profile);
  EXPECT_EQ(profile->fully_qualified_name(), "s.shop.svc.cluster.local");
  EXPECT_TRUE(profile->opaque_protocol());
  EXPECT_EQ(profile->parent_ref().resource().kind(), "Service");
}

TEST_F(Discovery, KeepsServingABrokenFilesLastGoodObjects) {
  GetClient stream = get();
  ASSERT_TRUE(stream.next());
  control_.put("slice.yaml", "kind: [");
  while (control_.metric("heddle_control_source_broken_files") < 1) std::this_thread::yield();
  GetClient second = get();
  const auto update = second.next();
  ASSERT_TRUE(update);
  EXPECT_EQ(update->add().addrs_size(), 2);
  EXPECT_THAT(control_.log(), HasSubstr("slice.yaml:1: not YAML"));
}

TEST_F(Discovery, ServesAThousandStreams) {
  std::vector<GetClient> streams;
  for (int i = 0; i < 1000; ++i) streams.push_back(get());
  for (GetClient& stream : streams) ASSERT_TRUE(stream.next());
  EXPECT_EQ(control_.metric("heddle_control_streams{rpc=\"Get\"}"), 1000);
  EXPECT_EQ(control_.metric("heddle_control_questions{rpc=\"Get\"}"), 1);
  const auto before = std::chrono::steady_clock::now();
  control_.put("slice.yaml", slice({"10.1.0.1"}));
  for (GetClient& stream : streams) {
    const auto update = stream.next();
    ASSERT_TRUE(update);
    ASSERT_EQ(update->remove().addrs_size(), 1);
  }
  const auto took = std::chrono::steady_clock::now() - before;
  RecordProperty("update_ms",
                 static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(took).count()));
  EXPECT_LT(took, std::chrono::seconds(10));
  streams.clear();
  while (control_.metric("heddle_control_streams{rpc=\"Get\"}") > 0) std::this_thread::yield();
}

TEST_F(Discovery, CutsOffAClientThatDoesNotRead) {
  // Large answers fill the connection's window; the client never reads.
  const auto many = [](int port) {
    std::vector<std::string> addresses;
    for (int i = 0; i < 2000; ++i) {
      addresses.push_back("10.2." + std::to_string(100 + i / 100) + "." + std::to_string(100 + i % 100));
    }
    return slice(addresses, port);
  };
  GetClient stream = get();
  ASSERT_TRUE(stream.next());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  for (int port = 1; control_.metric("heddle_control_streams_aborted_total{rpc=\"Get\"}") < 1; ++port) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "not cut off after " << port << " changes";
    const double version = control_.metric("heddle_control_source_version");
    control_.put("slice.yaml", many(port));
    while (control_.metric("heddle_control_source_version") == version) std::this_thread::yield();
  }
  while (control_.metric("heddle_control_streams{rpc=\"Get\"}") > 0) std::this_thread::yield();
}

TEST_F(Discovery, TellsStreamsThatItStops) {
  GetClient stream = get();
  ProfileClient profile(*channel_, "10.96.0.10:80");
  ASSERT_TRUE(stream.next());
  ASSERT_TRUE(profile.next());
  EXPECT_EQ(control_.terminate(), 0);
  EXPECT_FALSE(stream.next());
  EXPECT_EQ(stream.finish().code, unavailable);
  EXPECT_FALSE(profile.next());
  EXPECT_EQ(profile.finish().code, unavailable);
}

TEST_F(Discovery, IsNotBelievedUnderAnotherName) {
  const Channel channel(control_.destination_address(), control_.state("trust-anchors.pem"), "other.name");
  GetClient stream(channel, "web.shop.svc.cluster.local:80");
  EXPECT_FALSE(stream.next());
  EXPECT_EQ(stream.finish().code, unavailable);
}

}  // namespace
}  // namespace heddle::test
