// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "control/source/annotations.h"
#include "control/source/decode.h"

namespace heddle::source {
namespace {

std::unique_ptr<Snapshot> snapshot_of(std::string_view yaml) {
  auto objects = parse_objects(yaml, Format::yaml);
  EXPECT_TRUE(objects) << objects.error().message();
  return std::make_unique<Snapshot>(objects ? std::move(*objects) : Objects{}, 1);
}

IpAddress ip(std::string_view text) {
  return IpAddress::parse(text).value();
}

TEST(Snapshot, FindsByNameByAddressByNodeAndByService) {
  const auto snapshot = snapshot_of(R"(
{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: shop}, spec: {nodeName: n1}, status: {podIP: 10.1.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: b, namespace: shop}, spec: {nodeName: n1, hostNetwork: true}, status: {podIP: 10.0.0.1}}
---
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.10}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-2, namespace: shop, labels: {kubernetes.io/service-name: web}}}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}}
)");
  EXPECT_EQ(snapshot->find_pod("shop", "a"), snapshot->pod_with_ip(ip("10.1.0.1")));
  EXPECT_EQ(snapshot->find_pod("shop", "c"), nullptr);
  EXPECT_EQ(snapshot->pod_with_ip(ip("10.0.0.1")), nullptr) << "a node's address is not a pod's";
  EXPECT_EQ(snapshot->pods_on("n1").size(), 2U);
  EXPECT_TRUE(snapshot->pods_on("n2").empty());
  EXPECT_EQ(snapshot->service_with_ip(ip("10.96.0.10")), snapshot->find_service("shop", "web"));
  const auto slices = snapshot->slices_of("shop", "web");
  ASSERT_EQ(slices.size(), 2U);
  EXPECT_EQ(slices[0]->meta.name, "web-1");
}

TEST(Snapshot, LetsTheLaterOfTwoObjectsWin) {
  const auto snapshot = snapshot_of(R"(
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: n1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {nodeName: n2}}
)");
  EXPECT_EQ(snapshot->find_pod("default", "a")->node_name, "n2");
  EXPECT_TRUE(snapshot->pods_on("n1").empty());
  EXPECT_EQ(snapshot->objects().size(), 1U);
}

TEST(Snapshot, GivesAReusedAddressToTheLivingPod) {
  const auto snapshot = snapshot_of(R"(
{apiVersion: v1, kind: Pod, metadata: {name: new}, status: {podIP: 10.1.0.1, phase: Running}}
---
{apiVersion: v1, kind: Pod, metadata: {name: done}, status: {podIP: 10.1.0.1, phase: Succeeded}}
---
{apiVersion: v1, kind: Pod, metadata: {name: old, deletionTimestamp: "2026-01-01T00:00:00Z"}, status: {podIP: 10.1.0.1}}
)");
  EXPECT_EQ(snapshot->pod_with_ip(ip("10.1.0.1"))->meta.name, "new");
}

TEST(Snapshot, PrefersSlicesToEndpointsOfTheSameService) {
  const auto snapshot = snapshot_of(R"(
{apiVersion: v1, kind: Endpoints, metadata: {name: web}, subsets: [{addresses: [{ip: 10.1.0.1}], ports: [{port: 80}]}]}
---
{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}}
---
{apiVersion: v1, kind: Endpoints, metadata: {name: db}, subsets: [{addresses: [{ip: 10.1.0.2}], ports: [{port: 80}]}]}
)");
  ASSERT_EQ(snapshot->slices_of("default", "web").size(), 1U);
  EXPECT_EQ(snapshot->slices_of("default", "web")[0]->meta.name, "web-1");
  EXPECT_EQ(snapshot->slices_of("default", "db").size(), 1U);
}

Pod pod_with(Labels annotations, bool host_network = false) {
  Pod pod;
  pod.meta.annotations = std::move(annotations);
  pod.host_network = host_network;
  pod.ports.push_back({"mysql", 13306, Protocol::tcp});
  return pod;
}

TEST(Annotations, TakeThePodsWordBeforeItsNamespaces) {
  Namespace ns;
  ns.meta.annotations["linkerd.io/inject"] = "enabled";
  EXPECT_TRUE(is_meshed(pod_with({}), &ns));
  EXPECT_FALSE(is_meshed(pod_with({{"linkerd.io/inject", "disabled"}}), &ns));
  EXPECT_FALSE(is_meshed(pod_with({}), nullptr));
  EXPECT_TRUE(is_meshed(pod_with({{"linkerd.io/inject", "ingress"}}), nullptr));
  EXPECT_FALSE(is_meshed(pod_with({}, true), &ns)) << "host network";
}

TEST(Annotations, ReplaceTheDefaultOpaquePortsInsteadOfExtendingThem) {
  EXPECT_TRUE(is_opaque_port(pod_with({}), nullptr, 3306));
  EXPECT_FALSE(is_opaque_port(pod_with({}), nullptr, 8080));
  const Pod pod = pod_with({{"config.linkerd.io/opaque-ports", " 8080, 9000-9002 ,mysql,,nonsense"}});
  EXPECT_FALSE(is_opaque_port(pod, nullptr, 3306));
  EXPECT_TRUE(is_opaque_port(pod, nullptr, 8080));
  EXPECT_TRUE(is_opaque_port(pod, nullptr, 9001));
  EXPECT_TRUE(is_opaque_port(pod, nullptr, 13306)) << "by the container port's name";
  EXPECT_FALSE(is_opaque_port(pod_with({{"config.linkerd.io/opaque-ports", ""}}), nullptr, 3306))
      << "empty: no port is opaque";
}

TEST(Annotations, SkipPortsByNumberAndRange) {
  const Pod pod = pod_with({{"config.linkerd.io/skip-inbound-ports", "22,4567-4568"}});
  EXPECT_TRUE(skips_inbound(pod, nullptr, 4568));
  EXPECT_FALSE(skips_inbound(pod, nullptr, 80));
}

}  // namespace
}  // namespace heddle::source
