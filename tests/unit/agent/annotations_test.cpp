// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/annotations.h"

#include <gtest/gtest.h>

namespace heddle::agent {
namespace {

TEST(Annotations, HaveLinkerdsDefaults) {
  const auto settings = parse_annotations({}, {});
  EXPECT_FALSE(settings.inject.has_value());
  EXPECT_EQ(settings.outbound_port, 4140);
  EXPECT_EQ(settings.inbound_port, 4143);
  EXPECT_EQ(settings.default_inbound_policy, "all-unauthenticated");
  EXPECT_EQ(settings.opaque_ports.size(), 8u);
  EXPECT_TRUE(settings.client_source);
  EXPECT_FALSE(settings.fail_open);
  EXPECT_TRUE(settings.complaints.empty());
}

TEST(Annotations, OfThePodWinOverTheNamespaces) {
  const auto settings =
      parse_annotations({{"linkerd.io/inject", "disabled"}},
                        {{"linkerd.io/inject", "enabled"}, {"heddle.io/fail-open", "true"}});
  EXPECT_EQ(settings.inject, false);
  EXPECT_TRUE(settings.fail_open);
}

TEST(Annotations, ReadPortsSubnetsAndNames) {
  const auto settings = parse_annotations({{"config.linkerd.io/skip-outbound-ports", "443, 8000-8010,8011"},
                                           {"config.linkerd.io/skip-inbound-ports", "22"},
                                           {"config.linkerd.io/skip-subnets", "10.0.0.0/8, fd00::/8"},
                                           {"config.linkerd.io/opaque-ports", "db,9000"}},
                                          {}, {{"db", 3306}});
  ASSERT_TRUE(settings.complaints.empty()) << settings.complaints.front();
  EXPECT_EQ(settings.skip_outbound_ports, (std::vector<PortRange>{{443, 443}, {8000, 8011}}));
  EXPECT_EQ(settings.skip_inbound_ports, (std::vector<PortRange>{{22, 22}}));
  EXPECT_EQ(settings.skip_subnets.size(), 2u);
  EXPECT_EQ(settings.opaque_ports, (std::vector<PortRange>{{3306, 3306}, {9000, 9000}}));
}

TEST(Annotations, ThatMakeNoSenseAreNamedAndTheDefaultHolds) {
  const auto settings = parse_annotations({{"linkerd.io/inject", "maybe"},
                                           {"config.linkerd.io/outbound-port", "0"},
                                           {"config.linkerd.io/skip-subnets", "everything"},
                                           {"heddle.io/interception", "magic"},
                                           {"heddle.io/client-source", "1"},
                                           {"config.linkerd.io/skip-outbound-ports", "80,http"}},
                                          {});
  EXPECT_EQ(settings.complaints.size(), 6u);
  EXPECT_FALSE(settings.inject.has_value());
  EXPECT_EQ(settings.outbound_port, 4140);
  EXPECT_TRUE(settings.skip_subnets.empty());
  EXPECT_EQ(settings.interception, InterceptionChoice::automatic);
  EXPECT_TRUE(settings.client_source);
  EXPECT_TRUE(settings.skip_outbound_ports.empty());
}

TEST(Annotations, WithAnUnknownPolicyAdmitNobody) {
  const auto settings =
      parse_annotations({{"config.linkerd.io/default-inbound-policy", "all-authentcated"}}, {});
  EXPECT_EQ(settings.default_inbound_policy, "deny");
  EXPECT_EQ(settings.complaints.size(), 1u);
}

TEST(Annotations, BeyondWhatTheMapsHoldAreCutAndSaidSo) {
  std::string ports, subnets;
  for (int i = 0; i < 20; ++i) {
    ports += (i ? "," : "") + std::to_string(1000 + 10 * i);
    subnets += (i ? "," : "") + std::string("10.") + std::to_string(i) + ".0.0/16";
  }
  const auto settings = parse_annotations(
      {{"config.linkerd.io/skip-inbound-ports", ports}, {"config.linkerd.io/skip-subnets", subnets}}, {});
  EXPECT_EQ(settings.skip_inbound_ports.size(), 16u);
  EXPECT_EQ(settings.skip_subnets.size(), 16u);
  EXPECT_FALSE(settings.complaints.empty());
}

TEST(Annotations, KeepListenersApart) {
  const auto settings = parse_annotations({{"config.linkerd.io/outbound-port", "4143"}}, {});
  EXPECT_NE(settings.outbound_port, settings.inbound_port);
}

TEST(Annotations, OfAnyLengthAreRefusedBeyondALimit) {
  const auto settings =
      parse_annotations({{"config.linkerd.io/skip-inbound-ports", std::string(100'000, '1')}}, {});
  EXPECT_EQ(settings.complaints.size(), 1u);
}

TEST(Annotations, ReadLimitsAndLeaveTheOthersToTheProxy) {
  const auto settings =
      parse_annotations({{"heddle.io/max-connections", "200"}, {"heddle.io/max-buffered-bytes", "8Mi"}},
                        {{"heddle.io/max-connections", "100"},
                         {"heddle.io/max-requests", "50"},
                         {"heddle.io/cpu-weight", "300"},
                         {"heddle.io/max-accepts-per-second", "9"}});
  ASSERT_TRUE(settings.complaints.empty()) << settings.complaints.front();
  EXPECT_EQ(settings.limits.connections, 200u);
  EXPECT_EQ(settings.limits.requests, 50u);
  EXPECT_EQ(settings.limits.cpu_weight, 300u);
  EXPECT_EQ(settings.limits.accepts_per_second, 9u);
  EXPECT_EQ(settings.limits.buffered_bytes, 8u * 1024 * 1024);
  EXPECT_EQ(parse_annotations({}, {}).limits, PodLimits{});
}

TEST(Annotations, RefuseLimitsThatAreNone) {
  for (const char* value : {"", "0", "-1", "many", "10k", "1.5", "99999999999999999999", "4294967297"}) {
    const auto settings = parse_annotations({{"heddle.io/max-requests", value}}, {});
    ASSERT_EQ(settings.complaints.size(), 1u) << value;
    EXPECT_NE(settings.complaints.front().find("heddle.io/max-requests"), std::string::npos);
    EXPECT_EQ(settings.limits.requests, 0u) << value;
  }
  for (const char* value : {"", "0", "1Ki", "64KB", "64mi", "2Ti", "20000000Ti", "Mi"}) {
    const auto settings = parse_annotations({{"heddle.io/max-buffered-bytes", value}}, {});
    EXPECT_EQ(settings.complaints.size(), 1u) << value;
    EXPECT_EQ(settings.limits.buffered_bytes, 0u) << value;
  }
}

}  // namespace
}  // namespace heddle::agent
