// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "proxy/inbound/line_limit.h"
#include "proxy/policy/authorize.h"

namespace heddle::proxy {
namespace {

struct Fixture {
  std::shared_ptr<Pod> pod = std::make_shared<Pod>();
  InboundConnection connection;
  explicit Fixture(InboundPolicy policy = InboundPolicy::all_unauthenticated) {
    pod->ips = {IpAddress::parse("10.1.0.5").value()};
    pod->outbound_port = 4140;
    pod->inbound_port = 4143;
    pod->policy = policy;
    connection.client = SocketAddress::parse("203.0.113.9:5000").value();
    connection.original_dst = SocketAddress::parse("10.1.0.5:80").value();
  }
  Fixture& identified(TlsState tls = TlsState::mutual) {
    connection.tls = tls;
    connection.peer_identity = "web.shop.serviceaccount.identity.heddle.cluster.local";
    return *this;
  }
  Decision decide() {
    connection.pod = pod;
    return authorize(connection);
  }
};

TEST(Authorize, AppliesTheDefaultPolicies) {
  struct Row {
    InboundPolicy policy;
    bool stranger, neighbour, meshed;
    const char* rule;
  };
  const Row rows[] = {
      {InboundPolicy::all_unauthenticated, true, true, true, "default:all-unauthenticated"},
      {InboundPolicy::audit, true, true, true, "default:audit"},
      {InboundPolicy::all_authenticated, false, false, true, "default:all-authenticated"},
      {InboundPolicy::cluster_unauthenticated, false, true, true, "default:cluster-unauthenticated"},
      {InboundPolicy::cluster_authenticated, false, false, true, "default:cluster-authenticated"},
      {InboundPolicy::deny, false, false, false, "default:deny"},
  };
  for (const Row& row : rows) {
    Fixture stranger(row.policy);
    EXPECT_EQ(stranger.decide().allowed, row.stranger) << row.rule;
    EXPECT_STREQ(stranger.decide().rule, row.rule);
    for (const char* address :
         {"10.9.9.9:1", "172.31.0.1:1", "192.168.1.1:1", "100.64.0.1:1", "[fd00::1]:1"}) {
      Fixture neighbour(row.policy);
      neighbour.connection.client = SocketAddress::parse(address).value();
      EXPECT_EQ(neighbour.decide().allowed, row.neighbour) << row.rule << " " << address;
    }
    EXPECT_EQ(Fixture(row.policy).identified().decide().allowed, row.meshed) << row.rule;
    EXPECT_EQ(Fixture(row.policy).identified(TlsState::local).decide().allowed, row.meshed) << row.rule;
  }
}

TEST(Authorize, AuditsWhatOnlyTheAuditLetsIn) {
  EXPECT_TRUE(Fixture(InboundPolicy::audit).decide().audited);
  EXPECT_FALSE(Fixture(InboundPolicy::all_unauthenticated).decide().audited);
  Fixture refused(InboundPolicy::audit);
  refused.pod->require_identity_ports = {{80, 80}};
  EXPECT_FALSE(refused.decide().allowed);
  EXPECT_FALSE(refused.decide().audited);
}

TEST(Authorize, KnowsWhichChangesOfAPodMatter) {
  const Pod before = *Fixture().pod;
  Pod now = before;
  now.labels["version"] = "2";
  now.opaque_ports = {{1, 2}};
  EXPECT_FALSE(policy_differs(before, now));
  now.policy = InboundPolicy::deny;
  EXPECT_TRUE(policy_differs(before, now));
  now = before;
  now.require_identity_ports = {{80, 80}};
  EXPECT_TRUE(policy_differs(before, now));
  now = before;
  now.ips.clear();
  EXPECT_TRUE(policy_differs(before, now));
}

TEST(LineLimit, TellsHowManyLinesWereLeftOut) {
  LineLimit limit(2);
  const LineLimit::Time begin{std::chrono::hours(1)};
  EXPECT_EQ(limit.admit(begin), 0u);
  EXPECT_EQ(limit.admit(begin), 0u);
  EXPECT_EQ(limit.admit(begin + std::chrono::milliseconds(1)), std::nullopt);
  EXPECT_EQ(limit.admit(begin + std::chrono::milliseconds(999)), std::nullopt);
  EXPECT_EQ(limit.admit(begin + std::chrono::milliseconds(1000)), 2u);
  EXPECT_EQ(limit.admit(begin + std::chrono::milliseconds(1001)), 0u);
  EXPECT_EQ(limit.admit(begin + std::chrono::milliseconds(1002)), std::nullopt);
}

TEST(Authorize, BelievesNoIdentityThatTlsDidNotProve) {
  for (const TlsState state : {TlsState::none, TlsState::anonymous, TlsState::passthrough}) {
    EXPECT_FALSE(Fixture(InboundPolicy::all_authenticated).identified(state).decide().allowed);
  }
}

TEST(Authorize, RequiresIdentityOnPortsThatSaySo) {
  Fixture fixture;
  fixture.pod->require_identity_ports = {{80, 90}};
  EXPECT_FALSE(fixture.decide().allowed);
  EXPECT_TRUE(fixture.identified().decide().allowed);
  Fixture other;
  other.pod->require_identity_ports = {{81, 90}};
  EXPECT_TRUE(other.decide().allowed);
}

TEST(Authorize, NeverReachesTheMeshsOwnPortsOrAnotherAddress) {
  for (const std::uint16_t port : {std::uint16_t{4140}, std::uint16_t{4143}, std::uint16_t{0}}) {
    Fixture fixture;
    fixture.identified().connection.original_dst.port = port;
    EXPECT_FALSE(fixture.decide().allowed) << port;
  }
  Fixture elsewhere;
  elsewhere.identified().connection.original_dst.ip = IpAddress::parse("10.1.0.6").value();
  EXPECT_FALSE(elsewhere.decide().allowed);
}

}  // namespace
}  // namespace heddle::proxy
