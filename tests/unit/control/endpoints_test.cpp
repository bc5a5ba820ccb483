// SPDX-License-Identifier: Apache-2.0
#include "control/discovery/endpoints.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "world.h"

namespace heddle::control {
namespace {

using test::at;
using test::both;
using test::shop;
using test::snapshot_of;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

EndpointSet find(const source::Snapshot& snapshot, std::uint16_t port = 80, std::string node = {},
                 std::string instance = {}) {
  return find_endpoints(snapshot, {{"shop", "web", std::move(instance), port}, std::move(node)}, {});
}

std::vector<std::string> addresses(const EndpointSet& set) {
  std::vector<std::string> out;
  for (const auto& [address, info] : set.endpoints) out.push_back(address.to_string());
  return out;
}

TEST(FindEndpoints, MapsTheServicePortThroughTheSlicesName) {
  const auto snapshot = snapshot_of(shop(both()));
  EXPECT_THAT(addresses(find(*snapshot)), ElementsAre("10.1.0.1:8080", "10.1.0.2:8080"));
  EXPECT_THAT(addresses(find(*snapshot, 3306)), ElementsAre("10.1.0.1:3306", "10.1.0.2:3306"));
  EXPECT_THAT(addresses(find(*snapshot, 9999)), IsEmpty()) << "listed by the service, absent from the slice";
  EXPECT_THAT(addresses(find(*snapshot, 7777)), ElementsAre("10.1.0.1:7777", "10.1.0.2:7777"))
      << "not the service's port: the pods' own";
}

TEST(FindEndpoints, DescribesAMeshedEndpointAsLinkerdDoes) {
  const auto snapshot = snapshot_of(shop(both()));
  const EndpointSet set = find(*snapshot, 80, "n1");
  EXPECT_TRUE(set.exists);
  EXPECT_EQ(set.labels, (source::Labels{{"namespace", "shop"}, {"service", "web"}}));
  const EndpointInfo& info = set.endpoints.at(at("10.1.0.1:8080"));
  EXPECT_EQ(info.identity, "web.shop.serviceaccount.identity.heddle.cluster.local");
  EXPECT_EQ(info.hint, Hint::http2);
  EXPECT_EQ(info.labels, (source::Labels{{"pod", "web-1"},
                                         {"serviceaccount", "web"},
                                         {"deployment", "web-front"},
                                         {"pod_template_hash", "abc"},
                                         {"control_plane_ns", "heddle"},
                                         {"zone", "z1"},
                                         {"zone_locality", "local"}}));
  EXPECT_EQ(set.endpoints.at(at("10.1.0.2:8080")).labels.at("zone_locality"), "remote");
}

TEST(FindEndpoints, GivesNoIdentityForASkippedPort) {
  const auto snapshot = snapshot_of(shop(both()));
  const EndpointInfo info = find(*snapshot).endpoints.at(at("10.1.0.2:8080"));
  EXPECT_EQ(info.identity, "");
  EXPECT_EQ(info.hint, Hint::none);
  EXPECT_EQ(info.labels.at("k8s_job"), "once");
  EXPECT_EQ(find(*snapshot, 3306).endpoints.at(at("10.1.0.2:3306")).hint, Hint::opaque);
}

TEST(FindEndpoints, GivesNoIdentityToPodsThatAreNotMeshed) {
  const auto snapshot = snapshot_of(R"(
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: None, ports: [{port: 80}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: plain, namespace: shop}}
---
{apiVersion: v1, kind: Pod, metadata: {name: host, namespace: shop, annotations: {linkerd.io/inject: enabled}}, spec: {hostNetwork: true}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-a, namespace: shop, labels: {kubernetes.io/service-name: web}}
ports: [{port: 80}]
endpoints:
- {addresses: [10.1.0.1], targetRef: {kind: Pod, name: plain}}
- {addresses: [10.1.0.2], targetRef: {kind: Pod, name: host}}
- {addresses: [192.0.2.1]}
)");
  const EndpointSet set = find(*snapshot);
  ASSERT_EQ(set.endpoints.size(), 3U) << "headless, with an external address";
  for (const auto& [address, info] : set.endpoints) EXPECT_EQ(info.identity, "") << address.to_string();
}

TEST(FindEndpoints, TakesReadyEndpointsOnly) {
  const auto snapshot = snapshot_of(shop(std::string(test::web_1) +
                                         ", {addresses: [10.1.0.9], conditions: {ready: false}}, "
                                         "{addresses: [10.1.0.8], conditions: {ready: false, serving: true, "
                                         "terminating: true}}, {addresses: []}"));
  EXPECT_THAT(addresses(find(*snapshot)), ElementsAre("10.1.0.1:8080"));
}

TEST(FindEndpoints, FindsOneInstanceByHostnameOrPod) {
  const auto snapshot =
      snapshot_of(shop(std::string(test::web_1) + ", {addresses: [10.1.0.9], hostname: web-9}"));
  EXPECT_THAT(addresses(find(*snapshot, 80, "", "web-9")), ElementsAre("10.1.0.9:8080"));
  EXPECT_THAT(addresses(find(*snapshot, 80, "", "web-1")), ElementsAre("10.1.0.1:8080"));
  EXPECT_THAT(addresses(find(*snapshot, 80, "", "web-5")), IsEmpty());
}

TEST(FindEndpoints, KnowsMissingAndExternalServices) {
  const auto snapshot = snapshot_of(
      "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {type: ExternalName, "
      "externalName: example.org}}");
  EXPECT_TRUE(find(*snapshot).external);
  EXPECT_FALSE(find_endpoints(*snapshot, {{"shop", "other", "", 80}, {}}, {}).exists);
}

TEST(FindEndpoints, FollowsZoneHintsOnlyWhenAllEndpointsHaveThem) {
  const std::string near = "{addresses: [10.1.0.1], hints: {forZones: [{name: z1}]}}";
  const std::string far = "{addresses: [10.1.0.2], hints: {forZones: [{name: z2}]}}";
  const auto hinted = snapshot_of(shop(near + ", " + far));
  EXPECT_THAT(addresses(find(*hinted, 80, "n1")), ElementsAre("10.1.0.1:8080"));
  EXPECT_THAT(addresses(find(*hinted, 80, "n2")), ElementsAre("10.1.0.2:8080"));
  EXPECT_EQ(find(*hinted, 80, "").endpoints.size(), 2U) << "unknown client";
  const auto partly = snapshot_of(shop(near + ", " + far + ", {addresses: [10.1.0.3]}"));
  EXPECT_EQ(find(*partly, 80, "n1").endpoints.size(), 3U);
  const auto elsewhere = snapshot_of(shop(far));
  EXPECT_EQ(find(*elsewhere, 80, "n1").endpoints.size(), 1U) << "none for this zone: all";
}

TEST(FindEndpoints, KeepsTrafficLocalWhenTheServiceSaysSo) {
  std::string yaml = shop(both());
  yaml.replace(yaml.find("clusterIP:"), 0, "internalTrafficPolicy: Local\n  ");
  const auto snapshot = snapshot_of(yaml);
  EXPECT_THAT(addresses(find(*snapshot, 80, "n1")), ElementsAre("10.1.0.1:8080"));
  EXPECT_THAT(addresses(find(*snapshot, 80, "n3")), IsEmpty());
}

TEST(FindEndpoints, UsesOneFamilyOfADualStackPod) {
  const auto snapshot = snapshot_of(
      shop(std::string(test::web_1) + ", {addresses: [\"fd00::1\"], targetRef: {kind: Pod, name: web-1}}, "
                                      "{addresses: [\"fd00::3\"], targetRef: {kind: Pod, name: only-v6}}"));
  EXPECT_THAT(addresses(find(*snapshot)), ::testing::UnorderedElementsAre("10.1.0.1:8080", "[fd00::3]:8080"));
}

TEST(CompareEndpoints, SaysWhatIsGoneAndWhatIsNewOrDifferent) {
  const auto snapshot = snapshot_of(shop(both()));
  const EndpointSet before = find(*snapshot);
  EXPECT_TRUE(compare_endpoints(&before, before).empty());

  EndpointSet after = before;
  after.endpoints.erase(at("10.1.0.1:8080"));
  after.endpoints[at("10.1.0.3:8080")] = {};
  EndpointChange change = compare_endpoints(&before, after);
  EXPECT_THAT(change.removed, ElementsAre(at("10.1.0.1:8080")));
  EXPECT_THAT(change.added, ElementsAre(at("10.1.0.3:8080"))) << "the unchanged one is not sent again";

  after = before;
  after.endpoints[at("10.1.0.2:8080")].identity = "other";
  change = compare_endpoints(&before, after);
  EXPECT_THAT(change.removed, IsEmpty());
  EXPECT_THAT(change.added, ElementsAre(at("10.1.0.2:8080")));
}

TEST(CompareEndpoints, SaysWhenNoneIsLeftAndWhenTheServiceGoes) {
  const auto snapshot = snapshot_of(shop(both()));
  const EndpointSet full = find(*snapshot);
  EndpointSet empty = full;
  empty.endpoints.clear();
  EndpointSet gone;
  EXPECT_TRUE(compare_endpoints(nullptr, empty).none_left);
  EXPECT_TRUE(compare_endpoints(&full, empty).none_left);
  EXPECT_TRUE(compare_endpoints(&empty, gone).none_left) << "exists changed";
  EXPECT_TRUE(compare_endpoints(&gone, empty).none_left);
  EXPECT_EQ(compare_endpoints(&empty, full).added.size(), 2U);
  EXPECT_EQ(compare_endpoints(nullptr, full).added.size(), 2U);
}

}  // namespace
}  // namespace heddle::control
