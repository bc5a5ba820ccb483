// SPDX-License-Identifier: Apache-2.0
#include "agent/fallback/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace heddle::agent {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

RedirectRules example() {
  RedirectRules rules;
  rules.pod.outbound_port = 4140;
  rules.pod.inbound_port = 4143;
  rules.pod.skip_outbound_ports = {{25, 25}, {9000, 9010}};
  rules.pod.skip_inbound_ports = {{22, 22}};
  rules.pod.skip_cidrs = {Cidr::parse("10.1.0.0/16").value(), Cidr::parse("fd00::1").value()};
  rules.mark = 0x1a2b;
  rules.node_addresses = {IpAddress::parse("192.0.2.1").value()};
  return rules;
}

TEST(NftRules, ExemptTheMeshFirstAndRedirectLast) {
  EXPECT_THAT(nft_rules(example(), false),
              ElementsAre("meta mark 0x00001a2b return", "oifname \"lo\" return",
                          "ip daddr 10.1.0.0/16 return", "ip6 daddr fd00::1 return", "tcp dport 25 return",
                          "tcp dport 9000-9010 return", "meta l4proto 6 redirect to :4140"));
  EXPECT_THAT(
      nft_rules(example(), true),
      ElementsAre("iifname \"lo\" return", "ip saddr 10.1.0.0/16 return", "ip6 saddr fd00::1 return",
                  "ip saddr 192.0.2.1 return", "tcp dport 22 return", "meta l4proto 6 redirect to :4143"));
}

TEST(NftRules, DoNotTrustTheMarkWhereTheCgroupIsKnown) {
  auto rules = example();
  rules.mesh_cgroup = "system/agent";
  EXPECT_EQ(nft_rules(rules, false)[0], "socket cgroupv2 level 2 \"system/agent\" return");
  EXPECT_THAT(nft_script(rules), Not(HasSubstr("mark")));
}

TEST(NftRules, ReplaceTheTableInOneTransaction) {
  EXPECT_THAT(nft_script(example()),
              HasSubstr("add table inet heddle\ndelete table inet heddle\ntable inet heddle {"));
}

// What the script makes, as it is listed.
std::string listing_of(const RedirectRules& rules) {
  const auto script = nft_script(rules);
  return script.substr(script.find("\ntable ") + 1);
}

TEST(NftRules, AreRecognisedInAListingAndNoOthers) {
  EXPECT_TRUE(nft_lists(example(), listing_of(example())));
  auto other = example();
  other.pod.skip_inbound_ports.clear();
  EXPECT_FALSE(nft_lists(other, listing_of(example())));
  EXPECT_FALSE(nft_lists(example(), ""));
}

TEST(NftRules, AreNotRecognisedWhereSomebodyLetsTrafficPassThem) {
  const std::string ours = listing_of(example());
  for (const char* foreign : {"tcp dport 80 accept", "flags dormant"}) {
    auto changed = ours;
    changed.insert(changed.find("{\n") + 2, std::string("\t") + foreign + "\n");
    EXPECT_FALSE(nft_lists(example(), changed)) << changed;
  }
}

TEST(IptablesRules, AreSplitByFamily) {
  EXPECT_THAT(iptables_rules(example(), false),
              ElementsAre("-A HEDDLE_INBOUND -i lo -j RETURN", "-A HEDDLE_INBOUND -s 10.1.0.0/16 -j RETURN",
                          "-A HEDDLE_INBOUND -s 192.0.2.1/32 -j RETURN",
                          "-A HEDDLE_INBOUND -p tcp -m tcp --dport 22 -j RETURN",
                          "-A HEDDLE_INBOUND -p tcp -j REDIRECT --to-ports 4143",
                          "-A HEDDLE_OUTBOUND -m mark --mark 0x1a2b -j RETURN",
                          "-A HEDDLE_OUTBOUND -o lo -j RETURN", "-A HEDDLE_OUTBOUND -d 10.1.0.0/16 -j RETURN",
                          "-A HEDDLE_OUTBOUND -p tcp -m tcp --dport 25 -j RETURN",
                          "-A HEDDLE_OUTBOUND -p tcp -m tcp --dport 9000:9010 -j RETURN",
                          "-A HEDDLE_OUTBOUND -p tcp -j REDIRECT --to-ports 4140"));
  const auto v6 = iptables_rules(example(), true);
  EXPECT_THAT(v6, ::testing::Contains("-A HEDDLE_INBOUND -s fd00::1/128 -j RETURN"));
  EXPECT_THAT(v6, Not(::testing::Contains(HasSubstr("10.1.0.0"))));
}

TEST(IptablesRules, JumpOnceHoweverOftenTheyAreInstalled) {
  const std::string saved =
      "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j HEDDLE_INBOUND\nCOMMIT\n";
  const auto script = iptables_script(example(), false, saved);
  EXPECT_THAT(script, Not(HasSubstr("-A PREROUTING")));
  EXPECT_THAT(script, HasSubstr("-A OUTPUT -p tcp -j HEDDLE_OUTBOUND\n"));
}

TEST(IptablesRules, AreTakenAwayWithoutTouchingOthers) {
  EXPECT_EQ(
      iptables_removal_script("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j OTHER\nCOMMIT\n"), "");
  const auto script = iptables_removal_script(
      "*nat\n:HEDDLE_INBOUND - [0:0]\n:OTHER - [0:0]\n-A PREROUTING -p tcp -j OTHER\n"
      "-A PREROUTING -p tcp -j HEDDLE_INBOUND\n-A HEDDLE_INBOUND -i lo -j RETURN\nCOMMIT\n");
  EXPECT_EQ(script,
            "*nat\n-D PREROUTING -p tcp -j HEDDLE_INBOUND\n-F HEDDLE_INBOUND\n-X HEDDLE_INBOUND\nCOMMIT\n");
}

TEST(Cgroup, IsNamedInRulesOnlyWhenPlainAndBelowTheRoot) {
  EXPECT_TRUE(can_match_cgroup("/system/agent"));
  EXPECT_TRUE(can_match_cgroup("kubepods.slice/cri-containerd-0f.scope"));
  for (const char* bad : {"", "/", "a b", "a\"b", "a\nb", "a\\b"}) EXPECT_FALSE(can_match_cgroup(bad)) << bad;
}

TEST(NftTable, IsEmptyWhenItHoldsOnlyBaseChainsThatAccept) {
  EXPECT_TRUE(
      nft_table_is_empty("table ip nat {\n\tchain OUTPUT {\n\t\ttype nat hook output priority -100; policy "
                         "accept;\n\t}\n}\n"));
  EXPECT_FALSE(
      nft_table_is_empty("table ip nat {\n\tchain OUTPUT {\n\t\ttype nat hook output priority -100; policy "
                         "accept;\n\t\tcounter packets 0 bytes 0\n\t}\n}\n"));
  EXPECT_FALSE(
      nft_table_is_empty("table ip nat {\n\tchain OUTPUT {\n\t\ttype nat hook output priority -100; policy "
                         "drop;\n\t}\n}\n"));
}

}  // namespace
}  // namespace heddle::agent
