// SPDX-License-Identifier: Apache-2.0
#include "proxy/discovery/convert.h"

#include <gtest/gtest.h>

#include "api/linkerd/destination.pb.h"

namespace heddle::proxy {
namespace {

namespace api = io::linkerd::proxy::destination;

TEST(Convert, TakesEverythingOfAnEndpoint) {
  api::Update update;
  (*update.mutable_add()->mutable_metric_labels())["namespace"] = "shop";
  auto* each = update.mutable_add()->add_addrs();
  each->mutable_addr()->mutable_ip()->set_ipv4(0x0a010007);
  each->mutable_addr()->set_port(8080);
  each->mutable_tls_identity()->mutable_dns_like_identity()->set_name("web.shop");
  each->mutable_protocol_hint()->mutable_h2();
  each->mutable_protocol_hint()->mutable_opaque_transport()->set_inbound_port(4143);
  (*each->mutable_metric_labels())["pod"] = "web-1";
  const auto got = convert(update);
  ASSERT_EQ(got.kind, EndpointsUpdate::Kind::add);
  ASSERT_EQ(got.added.size(), 1u);
  EXPECT_EQ(got.added[0].address.to_string(), "10.1.0.7:8080");
  EXPECT_EQ(got.added[0].identity, "web.shop");
  EXPECT_EQ(got.added[0].server_name, "web.shop");
  EXPECT_EQ(got.added[0].hint, ProtocolHint::h2);
  EXPECT_EQ(got.added[0].opaque_transport_port, 4143);
  EXPECT_EQ(got.added[0].labels.at("pod"), "web-1");
  EXPECT_EQ(got.labels.at("namespace"), "shop");
}

TEST(Convert, TakesUriIdentitiesAndIpv6) {
  api::Update update;
  auto* each = update.mutable_add()->add_addrs();
  each->mutable_addr()->mutable_ip()->mutable_ipv6()->set_first(0xfd00000000000001u);
  each->mutable_addr()->mutable_ip()->mutable_ipv6()->set_last(0x2);
  each->mutable_addr()->set_port(443);
  each->mutable_tls_identity()->mutable_uri_like_identity()->set_uri("spiffe://x/y");
  each->mutable_tls_identity()->mutable_server_name()->set_name("vm");
  const auto got = convert(update);
  ASSERT_EQ(got.added.size(), 1u);
  EXPECT_EQ(got.added[0].address.to_string(), "[fd00:0:0:1::2]:443");
  EXPECT_EQ(got.added[0].identity, "spiffe://x/y");
  EXPECT_EQ(got.added[0].server_name, "vm");
}

TEST(Convert, NeverMakesAnUnmeshedEndpointOfAnIdentityWithoutAName) {
  api::Update update;
  auto* each = update.mutable_add()->add_addrs();
  each->mutable_addr()->mutable_ip()->set_ipv4(0x0a010007);
  each->mutable_addr()->set_port(8080);
  each->mutable_tls_identity();
  const auto got = convert(update);
  ASSERT_EQ(got.added.size(), 1u);
  EXPECT_FALSE(got.added[0].identity.empty()) << "it would be dialled in plaintext";
}

TEST(Convert, LeavesOutEndpointsWithoutAUsableAddress) {
  api::Update update;
  update.mutable_add()->add_addrs();
  auto* each = update.mutable_add()->add_addrs();
  each->mutable_addr()->mutable_ip()->set_ipv4(1);
  each->mutable_addr()->set_port(70'000);
  EXPECT_TRUE(convert(update).added.empty());
}

TEST(Convert, KnowsRemovalsAndEmptySets) {
  api::Update update;
  auto* at = update.mutable_remove()->add_addrs();
  at->mutable_ip()->set_ipv4(0x0a010007);
  at->set_port(80);
  EXPECT_EQ(convert(update).kind, EndpointsUpdate::Kind::remove);
  EXPECT_EQ(convert(update).removed.size(), 1u);
  update.mutable_no_endpoints()->set_exists(true);
  EXPECT_EQ(convert(update).kind, EndpointsUpdate::Kind::none);
  EXPECT_TRUE(convert(update).exists);
  EXPECT_EQ(convert(api::Update()).kind, EndpointsUpdate::Kind::other);
}

TEST(Convert, TakesAProfile) {
  api::DestinationProfile profile;
  profile.set_fully_qualified_name("web.shop.svc.cluster.local");
  profile.set_opaque_protocol(true);
  profile.mutable_parent_ref()->mutable_resource()->set_name("web");
  profile.mutable_parent_ref()->mutable_resource()->set_namespace_("shop");
  const auto got = convert(profile);
  EXPECT_EQ(got.name, "web.shop.svc.cluster.local");
  EXPECT_TRUE(got.opaque);
  EXPECT_FALSE(got.endpoint);
  EXPECT_EQ(got.labels.at("service"), "web");
  EXPECT_EQ(got.labels.at("namespace"), "shop");
}

}  // namespace
}  // namespace heddle::proxy
