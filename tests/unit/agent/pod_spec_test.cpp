// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_spec.h"

#include <gtest/gtest.h>

namespace heddle::agent {
namespace {

SandboxFacts facts() {
  SandboxFacts out;
  out.container_id = "c1";
  out.pod_namespace = "shop";
  out.pod_name = "web-1";
  out.attachments.push_back({"eth0", "net", {*IpAddress::parse("10.1.0.5")}});
  return out;
}

TEST(PodSpec, OfAPodTheSourceDoesNotKnowFollowsTheDefault) {
  NodeFacts node;
  EXPECT_FALSE(describe(facts(), node).meshed);
  node.inject_unknown_pods = true;
  const auto spec = describe(facts(), node);
  EXPECT_TRUE(spec.meshed);
  EXPECT_EQ(spec.identity, "default.shop.serviceaccount.identity.heddle.cluster.local");
}

TEST(PodSpec, OfAKnownPodFollowsItsAnnotationsOnly) {
  NodeFacts node;
  node.inject_unknown_pods = true;
  auto known = facts();
  known.source.emplace();
  known.source->service_account = "web";
  EXPECT_FALSE(describe(known, node).meshed);
  known.source->namespace_annotations["linkerd.io/inject"] = "enabled";
  const auto spec = describe(known, node);
  EXPECT_TRUE(spec.meshed);
  EXPECT_EQ(spec.identity, "web.shop.serviceaccount.identity.heddle.cluster.local");
  known.source->annotations["linkerd.io/inject"] = "disabled";
  EXPECT_FALSE(describe(known, node).meshed);
}

TEST(PodSpec, TakesTheRuntimesAnnotationsWhileTheSourceIsSilent) {
  auto silent = facts();
  silent.annotations["linkerd.io/inject"] = "enabled";
  EXPECT_TRUE(describe(silent, {}).meshed);
}

TEST(PodSpec, JoinsTheAddressesOfASandboxWithoutThoseThatNameNoPod) {
  auto from = facts();
  from.attachments = {{"eth0", "net", {*IpAddress::parse("10.1.0.5"), *IpAddress::parse("127.0.0.1")}}};
  from.netns_addresses = {*IpAddress::parse("fe80::1"), *IpAddress::parse("10.1.0.5"),
                          *IpAddress::parse("fd00::5")};
  const std::vector expected{*IpAddress::parse("10.1.0.5"), *IpAddress::parse("fd00::5")};
  EXPECT_EQ(describe(from, {}).addresses, expected);
}

TEST(PodSpec, DoesNotTakeTheAddressesOfAnEarlierSandboxFromTheSource) {
  auto from = facts();
  from.attachments = {{"eth0", "net", {*IpAddress::parse("10.1.0.5")}}};
  from.source.emplace();
  from.source->ips = {*IpAddress::parse("10.1.0.2"), *IpAddress::parse("127.0.0.1")};
  EXPECT_EQ(describe(from, {}).addresses, std::vector{*IpAddress::parse("10.1.0.5")});
  from.attachments.clear();  // nobody else has told
  EXPECT_EQ(describe(from, {}).addresses, std::vector{*IpAddress::parse("10.1.0.2")});
}

TEST(PodSpec, IsNotMadeTooLargeToBeToldByItsLabels) {
  auto from = facts();
  from.source.emplace();
  for (int i = 1000; i < 4000; ++i) from.source->labels["label-" + std::to_string(i)] = std::string(60, 'x');
  const auto spec = describe(from, {});
  std::size_t bytes = 0;
  for (const auto& [key, value] : spec.labels) bytes += key.size() + value.size();
  EXPECT_GT(bytes, 8'000u);
  EXPECT_LE(bytes, 16u * 1024);
  ASSERT_EQ(spec.settings.complaints.size(), 1u);
  EXPECT_NE(spec.settings.complaints[0].find("labels exceed"), std::string::npos);
}

TEST(PodSpec, WithoutAnyAddressIsNotMeshedAndSaysWhy) {
  auto bare = facts();
  bare.attachments.clear();
  bare.annotations["linkerd.io/inject"] = "enabled";
  const auto spec = describe(bare, {});
  EXPECT_FALSE(spec.meshed);
  EXPECT_NE(spec.reason.find("no address"), std::string::npos);
}

TEST(PodSpec, OfABareContainerIsNamedByItsContainer) {
  SandboxFacts bare;
  bare.container_id = "abc";
  const auto spec = describe(bare, {});
  EXPECT_EQ(spec.ns, "default");
  EXPECT_EQ(spec.name, "abc");
  EXPECT_EQ(spec.uid, "abc");
}

TEST(PodSpec, OfAnExcludedNamespaceIsNeverMeshed) {
  NodeFacts node;
  node.inject_unknown_pods = true;
  node.excluded_namespaces = {"kube-system", "storage"};
  auto asks = facts();
  asks.annotations["linkerd.io/inject"] = "enabled";
  EXPECT_TRUE(describe(asks, node).meshed);
  for (const char* ns : {"kube-system", "storage", "heddle"}) {
    asks.pod_namespace = ns;
    const auto spec = describe(asks, node);
    EXPECT_FALSE(spec.meshed) << ns;
    EXPECT_NE(spec.reason.find("namespace"), std::string::npos) << spec.reason;
  }
}

}  // namespace
}  // namespace heddle::agent
