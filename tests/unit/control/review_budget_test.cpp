// SPDX-License-Identifier: Apache-2.0
#include "control/certify/review_budget.h"

#include <gtest/gtest.h>

#include <vector>

namespace heddle::control {
namespace {

using Shares = std::vector<std::shared_ptr<const ReviewBudget::Share>>;

// As many as it is given, `limit` at most.
std::size_t take_all(ReviewBudget& budget, const std::string& peer, bool stranger, Shares& to,
                     std::size_t limit = 5000) {
  for (std::size_t taken = 0; taken < limit; ++taken) {
    auto share = budget.take(peer, stranger);
    if (share == nullptr) return taken;
    to.push_back(std::move(share));
  }
  return limit;
}

TEST(ReviewBudget, BoundsAStrangerAndGivesBackWhatIsDone) {
  const auto budget = std::make_shared<ReviewBudget>();
  Shares shares;
  EXPECT_EQ(take_all(*budget, "10.0.0.1", true, shares), ReviewBudget::most_of_a_stranger);
  EXPECT_EQ(budget->take("10.0.0.1", true), nullptr);
  shares.pop_back();
  EXPECT_EQ(take_all(*budget, "10.0.0.1", true, shares), 1U);
}

TEST(ReviewBudget, AStrangerTakesNothingFromAnother) {
  const auto budget = std::make_shared<ReviewBudget>();
  Shares shares;
  take_all(*budget, "10.0.0.1", true, shares);
  EXPECT_EQ(take_all(*budget, "10.0.0.2", true, shares), ReviewBudget::most_of_a_stranger);
}

TEST(ReviewBudget, StrangersTogetherLeaveRoomForAgents) {
  const auto budget = std::make_shared<ReviewBudget>();
  Shares shares;
  std::size_t taken = 0;
  for (int i = 0; i < 100; ++i) taken += take_all(*budget, "10.0.1." + std::to_string(i), true, shares);
  EXPECT_EQ(taken, ReviewBudget::most_of_strangers);
  EXPECT_EQ(budget->take("10.0.0.9", true), nullptr);
  EXPECT_EQ(take_all(*budget, "10.0.0.9", false, shares), ReviewBudget::most_of_an_agent);
  shares.clear();
  EXPECT_NE(budget->take("10.0.0.9", true), nullptr);
}

TEST(ReviewBudget, AnAgentThatSharesAStrangersAddressIsNotHeldUp) {
  const auto budget = std::make_shared<ReviewBudget>();
  Shares shares;
  take_all(*budget, "10.0.0.1", true, shares);
  EXPECT_EQ(take_all(*budget, "10.0.0.1", false, shares),
            ReviewBudget::most_of_an_agent - ReviewBudget::most_of_a_stranger);
}

TEST(PeerKey, IsAnAddressOrTheNetworkThatOneHostHas) {
  EXPECT_EQ(peer_key("ipv4:10.0.0.1:4321"), "10.0.0.1");
  EXPECT_EQ(peer_key("ipv4:10.0.0.1:1"), "10.0.0.1");
  EXPECT_EQ(peer_key("ipv6:%5B2001:db8::1%5D:4321"), "2001:db8::/64");
  EXPECT_EQ(peer_key("ipv6:[2001:db8::ffff:2]:1"), "2001:db8::/64");
  EXPECT_EQ(peer_key("ipv6:[2001:db8:0:1::2]:1"), "2001:db8:0:1::/64");
  EXPECT_EQ(peer_key("ipv6:%5Bfe80::1%25eth0%5D:1"), "fe80::/64");
  EXPECT_EQ(peer_key("ipv6:%5B::ffff:10.0.0.1%5D:1"), "10.0.0.1");
  EXPECT_EQ(peer_key("unix:/run/x"), "");
  EXPECT_EQ(peer_key(""), "");
}

}  // namespace
}  // namespace heddle::control
