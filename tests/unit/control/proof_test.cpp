// SPDX-License-Identifier: Apache-2.0
#include "control/certify/proof.h"

#include <gtest/gtest.h>

#include "world.h"

namespace heddle::control {
namespace {

constexpr std::string_view pods = R"(
{apiVersion: v1, kind: Pod, metadata: {name: web-1, namespace: shop, uid: w1}, spec: {nodeName: n1, serviceAccountName: web}}
---
{apiVersion: v1, kind: Pod, metadata: {name: web-2, namespace: shop, uid: w2}, spec: {nodeName: n2, serviceAccountName: web}}
---
{apiVersion: v1, kind: Pod, metadata: {name: done, namespace: shop, uid: d1}, spec: {nodeName: n1, serviceAccountName: web}, status: {phase: Succeeded}}
---
{apiVersion: v1, kind: Pod, metadata: {name: host, namespace: shop, uid: h1}, spec: {nodeName: n1, serviceAccountName: web, hostNetwork: true}}
---
{apiVersion: v1, kind: Pod, metadata: {name: agent-1, namespace: heddle, uid: a1}, spec: {nodeName: n1, serviceAccountName: heddle-agent, hostNetwork: true}}
---
{apiVersion: v1, kind: Pod, metadata: {name: agent-1, namespace: shop, uid: s1}, spec: {nodeName: n1, serviceAccountName: heddle-agent}}
)";

const std::string web = "web.shop.serviceaccount.identity.heddle.cluster.local";
const TokenOwner web_1{"shop", "web", "web-1", "w1", ""};
const TokenOwner web_2{"shop", "web", "web-2", "w2", ""};
const TokenOwner agent_1{"heddle", "heddle-agent", "agent-1", "a1", ""};

class ProofTest : public ::testing::Test {
 protected:
  std::optional<Refusal> refusal(const Proof& proof, const std::string& identity = web) const {
    const auto refused = check_proof(proof, identity, *snapshot_, {});
    return refused ? std::optional(refused->reason) : std::nullopt;
  }
  static TokenOwner with_node(TokenOwner owner, const std::string& node) {
    owner.node_name = node;
    return owner;
  }

  std::shared_ptr<const source::Snapshot> snapshot_ = test::snapshot_of(pods);
};

TEST_F(ProofTest, IsGoodForAPodOnTheNodeOfTheAgentThatAsks) {
  EXPECT_EQ(refusal({web_1, agent_1}), std::nullopt);
  EXPECT_EQ(refusal({with_node(web_1, "n1"), with_node(agent_1, "n1")}), std::nullopt);
}

TEST_F(ProofTest, OfAPodOnAnotherNodeIsRefusedToAnAgent) {
  EXPECT_EQ(refusal({web_2, agent_1}), Refusal::node);
  EXPECT_EQ(refusal({web_2, with_node(agent_1, "n2")}), Refusal::node);
  EXPECT_EQ(refusal({web_1, with_node(agent_1, "n2")}), Refusal::node);
  EXPECT_EQ(refusal({with_node(web_1, "n2"), agent_1}), Refusal::node);
}

TEST_F(ProofTest, OfAPodAloneNeedsNoNodeButTheOneItNames) {
  EXPECT_EQ(refusal({web_2, std::nullopt}), std::nullopt);
  EXPECT_EQ(refusal({with_node(web_2, "n1"), std::nullopt}), Refusal::node);
}

TEST_F(ProofTest, OfAnAgentAloneIsGoodForThePodsOfItsNodeAndNoOthers) {
  EXPECT_EQ(refusal({agent_1, std::nullopt, true}), std::nullopt);
  EXPECT_EQ(refusal({with_node(agent_1, "n2"), std::nullopt, true}), Refusal::node);
  EXPECT_EQ(refusal({agent_1, std::nullopt, true}, "db.shop.serviceaccount.identity.heddle.cluster.local"),
            Refusal::not_scheduled);
  TokenOwner replaced = agent_1;
  replaced.pod_uid = "a0";
  EXPECT_EQ(refusal({replaced, std::nullopt, true}), Refusal::not_scheduled);
  EXPECT_EQ(refusal({web_1, std::nullopt, true}), Refusal::identity);
  const TokenOwner impostor{"shop", "heddle-agent", "agent-1", "s1", ""};
  EXPECT_EQ(refusal({impostor, std::nullopt, true}), Refusal::identity);
}

TEST_F(ProofTest, IsOnlyGoodForTheIdentityOfItsServiceAccount) {
  EXPECT_EQ(refusal({web_1, agent_1}, "db.shop.serviceaccount.identity.heddle.cluster.local"),
            Refusal::identity);
  EXPECT_EQ(refusal({agent_1, agent_1}), Refusal::identity);
  TokenOwner other = web_1;
  other.service_account = "db";  // the pod known has another ServiceAccount
  EXPECT_EQ(refusal({other, agent_1}, "db.shop.serviceaccount.identity.heddle.cluster.local"),
            Refusal::not_scheduled);
}

TEST_F(ProofTest, ByAnythingButAnAgentOfTheControlPlaneIsRefused) {
  EXPECT_EQ(refusal({web_1, web_1}), Refusal::identity);
  EXPECT_EQ(refusal({web_1, TokenOwner{"shop", "heddle-agent", "agent-1", "s1", ""}}), Refusal::identity);
}

TEST_F(ProofTest, OfAPodOrAgentThatIsGoneOrReplacedIsRefused) {
  EXPECT_EQ(refusal({{"shop", "web", "web-1", "w0", ""}, agent_1}), Refusal::not_scheduled);
  EXPECT_EQ(refusal({{"shop", "web", "web-9", "w9", ""}, agent_1}), Refusal::not_scheduled);
  EXPECT_EQ(refusal({{"shop", "web", "done", "d1", ""}, agent_1}), Refusal::not_scheduled);
  EXPECT_EQ(refusal({web_1, TokenOwner{"heddle", "heddle-agent", "agent-1", "a0", ""}}),
            Refusal::not_scheduled);
}

TEST_F(ProofTest, OfAPodOnTheHostsNetworkIsRefused) {
  EXPECT_EQ(refusal({{"shop", "web", "host", "h1", ""}, agent_1}), Refusal::identity);
}

TEST(AgentReviews, AreKeptForAMinuteAndNoLonger) {
  AgentReviews reviews;
  const AgentReviews::Time now{std::chrono::hours(1)};
  reviews.keep("a.b.c", agent_1, now);
  EXPECT_EQ(reviews.find("a.b.c", now + std::chrono::seconds(59)), agent_1);
  EXPECT_EQ(reviews.find("a.b.c", now + std::chrono::seconds(60)), std::nullopt);
  EXPECT_EQ(reviews.find("a.b.d", now), std::nullopt);
}

TEST(AgentReviews, AreBoundedAndMakeRoomOnceOldOnesAreOver) {
  AgentReviews reviews;
  const AgentReviews::Time now{std::chrono::hours(1)};
  for (std::size_t i = 0; i < AgentReviews::most; ++i) reviews.keep(std::to_string(i), agent_1, now);
  reviews.keep("late", agent_1, now);
  EXPECT_EQ(reviews.find("late", now), std::nullopt);
  reviews.keep("late", agent_1, now + AgentReviews::lifetime);
  EXPECT_EQ(reviews.find("late", now + AgentReviews::lifetime), agent_1);
}

}  // namespace
}  // namespace heddle::control
