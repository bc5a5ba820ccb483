// SPDX-License-Identifier: Apache-2.0
#include "agent/datapath/pod_entry.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "agent/datapath/links.h"

namespace heddle::agent {
namespace {

InterceptedPod minimal() {
  InterceptedPod pod;
  pod.id = 9;
  pod.netns_cookie = 5;
  pod.addresses = {IpAddress::parse("10.0.0.2").value()};
  pod.outbound_port = 4140;
  pod.inbound_port = 4143;
  return pod;
}

TEST(PodEntry, CarriesSettingsOver) {
  auto pod = minimal();
  pod.fail_open = true;
  pod.client_source = false;
  pod.addresses.push_back(IpAddress::parse("fd00::2").value());
  pod.skip_inbound_ports = {{1, 2}};
  pod.skip_cidrs = {Cidr::parse("10.0.0.0/8").value()};
  const auto entry = to_entry(pod).value();
  EXPECT_EQ(entry.id, 9u);
  EXPECT_EQ(entry.flags, static_cast<__u32>(HEDDLE_POD_FAIL_OPEN));
  EXPECT_EQ(from_words(entry.ip4).to_string(), "10.0.0.2");
  EXPECT_EQ(from_words(entry.ip6).to_string(), "fd00::2");
  EXPECT_EQ(entry.skip_inbound_count, 1);
  EXPECT_EQ(entry.skip_inbound[0].high, 2);
  EXPECT_EQ(entry.skip_cidrs[0].bits, 104);
}

TEST(PodEntry, DoesNotAimAtAddressesThatNeedAScope) {
  auto pod = minimal();
  pod.addresses.push_back(IpAddress::parse("fe80::1").value());
  EXPECT_TRUE(from_words(to_entry(pod).value().ip6).is_unspecified());
  EXPECT_FALSE(aim_address({IpAddress::parse("fe80::1").value()}, false));
  EXPECT_EQ(aim_address({IpAddress::parse("169.254.1.1").value()}, true)->to_string(), "169.254.1.1");
}

TEST(PodEntry, RefusesMoreThanTheMapHolds) {
  auto pod = minimal();
  pod.skip_outbound_ports.resize(HEDDLE_MAX_SKIP_PORTS + 1);
  EXPECT_EQ(to_entry(pod).error().code, make_error_code(Errc::exhausted));
  pod = minimal();
  pod.skip_cidrs.resize(HEDDLE_MAX_SKIP_CIDRS + 1);
  EXPECT_EQ(to_entry(pod).error().code, make_error_code(Errc::exhausted));
}

TEST(PodEntry, RefusesAPodWithoutCookieAddressOrPorts) {
  auto pod = minimal();
  pod.netns_cookie = 0;
  EXPECT_FALSE(to_entry(pod));
  pod = minimal();
  pod.addresses.clear();
  EXPECT_FALSE(to_entry(pod));
  pod = minimal();
  pod.inbound_port = pod.outbound_port;
  EXPECT_FALSE(to_entry(pod));
}

TEST(Verdicts, HaveDifferentNames) {
  std::set<std::string> names;
  for (int i = 0; i < HEDDLE_V_COUNT; ++i) names.insert(verdict_name(static_cast<heddle_verdict>(i)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(HEDDLE_V_COUNT));
  EXPECT_FALSE(names.contains("unknown"));
}

TEST(Links, PutOnTheMeshsCgroupOnlyWhatTheMeshAsks) {
  Datapath::Options options;
  options.pods_cgroup = "/cg/pods";
  options.mesh_cgroup = "/cg/mesh";
  std::set<std::string> pods, mesh;
  for (const auto& link : planned_links(options))
    (link.cgroup == options.mesh_cgroup ? mesh : pods).insert(link.hook);
  EXPECT_EQ(mesh, (std::set<std::string>{"getsockname4", "getsockname6", "getsockopt", "setsockopt"}));
  EXPECT_EQ(pods, (std::set<std::string>{"connect4", "connect6", "getpeername4", "getpeername6", "sockops"}));
}

TEST(Links, PutConnectLast) {
  Datapath::Options options;
  options.pods_cgroup = "/cg/pods";
  options.mesh_cgroup = "/cg/mesh";
  options.probe_cgroup = "/cg/kubelet";
  const auto links = planned_links(options);
  ASSERT_GE(links.size(), 2u);
  EXPECT_EQ(links[links.size() - 2].hook, "connect4");
  EXPECT_EQ(links[links.size() - 1].hook, "connect6");
}

}  // namespace
}  // namespace heddle::agent
