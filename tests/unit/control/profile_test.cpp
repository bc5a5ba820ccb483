// SPDX-License-Identifier: Apache-2.0
#include "control/discovery/profile.h"

#include <gtest/gtest.h>

#include "world.h"

namespace heddle::control {
namespace {

using test::at;
using test::both;
using test::shop;
using test::snapshot_of;

TEST(FindProfile, NamesTheServiceBehindAClusterAddress) {
  const auto snapshot = snapshot_of(shop(both()));
  const Profile profile = find_profile(*snapshot, at("10.96.0.10:80"), {});
  EXPECT_EQ(profile.fully_qualified_name, "web.shop.svc.cluster.local");
  EXPECT_EQ(profile.service, (ServiceTarget{"shop", "web", "", 80}));
  EXPECT_FALSE(profile.endpoint_address);
  EXPECT_FALSE(profile.opaque);
  EXPECT_EQ(find_profile(*snapshot, ServiceTarget{"shop", "web", "", 80}, {}), profile);
}

TEST(FindProfile, DescribesThePodBehindItsAddress) {
  const auto snapshot = snapshot_of(shop(both()));
  const Profile profile = find_profile(*snapshot, at("10.1.0.1:8080"), {});
  EXPECT_EQ(profile.fully_qualified_name, "");
  ASSERT_TRUE(profile.endpoint_address);
  EXPECT_EQ(profile.endpoint.identity, "web.shop.serviceaccount.identity.heddle.cluster.local");
  EXPECT_EQ(profile.endpoint.labels.at("namespace"), "shop");
  EXPECT_FALSE(profile.opaque);
  EXPECT_TRUE(find_profile(*snapshot, at("10.1.0.2:3306"), {}).opaque) << "the pod's annotation";
  EXPECT_FALSE(find_profile(*snapshot, at("10.1.0.2:6379"), {}).opaque) << "which replaces the default";
}

TEST(FindProfile, GivesAnInstanceItsPod) {
  const auto snapshot = snapshot_of(shop(both()));
  const Profile profile = find_profile(*snapshot, ServiceTarget{"shop", "web", "web-1", 80}, {});
  EXPECT_EQ(profile.endpoint_address, at("10.1.0.1:8080"));
  EXPECT_EQ(profile.fully_qualified_name, "");
}

TEST(FindProfile, LeavesTheUnknownAloneButForDefaultOpaquePorts) {
  const auto snapshot = snapshot_of(shop(both()));
  EXPECT_EQ(find_profile(*snapshot, at("192.0.2.1:443"), {}), Profile{});
  EXPECT_TRUE(find_profile(*snapshot, at("192.0.2.1:3306"), {}).opaque);
  const Profile profile = find_profile(*snapshot, ServiceTarget{"shop", "none", "", 6379}, {});
  EXPECT_EQ(profile.fully_qualified_name, "none.shop.svc.cluster.local");
  EXPECT_FALSE(profile.service);
  EXPECT_TRUE(profile.opaque);
}

bool opaque(const std::string& annotations, const std::string& port, std::uint16_t number) {
  const auto snapshot = snapshot_of("{apiVersion: v1, kind: Service, metadata: {name: s, annotations: {" +
                                    annotations + "}}, spec: {ports: [{name: p, " + port + "}]}}");
  return is_opaque_service_port(*snapshot, *snapshot->find_service("default", "s"), number);
}

TEST(OpaqueServicePort, FollowsAnnotationThenAppProtocolThenTheDefaultList) {
  EXPECT_TRUE(opaque("", "port: 3306", 3306));
  EXPECT_FALSE(opaque("", "port: 80", 80));
  EXPECT_TRUE(opaque("config.linkerd.io/opaque-ports: \"80\"", "port: 80, appProtocol: http", 80));
  EXPECT_FALSE(opaque("config.linkerd.io/opaque-ports: \"80\"", "port: 3306", 3306));
  EXPECT_TRUE(opaque("config.linkerd.io/opaque-ports: p", "port: 81", 81)) << "by name";
  EXPECT_FALSE(opaque("", "port: 3306, appProtocol: http", 3306));
  EXPECT_FALSE(opaque("", "port: 81, appProtocol: kubernetes.io/h2c", 81));
  EXPECT_TRUE(opaque("", "port: 81, appProtocol: linkerd.io/opaque", 81));
  EXPECT_TRUE(opaque("", "port: 81, appProtocol: linkerd.io/tcp", 81));
  EXPECT_TRUE(opaque("", "port: 81, appProtocol: https", 81)) << "any other value";
}

}  // namespace
}  // namespace heddle::control
