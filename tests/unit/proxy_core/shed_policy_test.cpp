// SPDX-License-Identifier: Apache-2.0
#include "proxy/pods/shed_policy.h"

#include <gtest/gtest.h>

namespace heddle::proxy {
namespace {

using Pods = std::vector<std::uint32_t>;
using std::chrono::milliseconds;

struct Shedding : testing::Test {
  ShedPolicy::Decision look(std::uint64_t used, milliseconds later = milliseconds(100)) {
    now += later;
    return policy.look(used, 1000, uses, now);
  }
  ShedPolicy policy;
  std::vector<ShedPolicy::Use> uses{{1, 10}, {2, 700}, {3, 20}};
  ShedPolicy::Clock::time_point now{};
};

TEST_F(Shedding, BeginsWithThePodThatUsesMostAndEndsWellBelow) {
  EXPECT_TRUE(look(840).shedding.empty());
  auto decision = look(860);
  EXPECT_EQ(decision.begun, Pods{2});
  EXPECT_EQ(decision.shedding, Pods{2});
  EXPECT_FALSE(decision.reset) << "first what it does not need";
  decision = look(800);
  EXPECT_EQ(decision.shedding, Pods{2}) << "a little below where it began is not the end";
  EXPECT_TRUE(decision.begun.empty());
  decision = look(740);
  EXPECT_TRUE(decision.shedding.empty());
  EXPECT_EQ(decision.ended, Pods{2});
  EXPECT_TRUE(look(840).shedding.empty());
}

TEST_F(Shedding, ResetsConnectionsWhenNothingElseHelpsOrItIsUrgent) {
  EXPECT_FALSE(look(870).reset);
  EXPECT_FALSE(look(870, milliseconds(500)).reset);
  EXPECT_TRUE(look(870, milliseconds(600)).reset);
  EXPECT_FALSE(look(840).reset) << "it is less by now";
  EXPECT_TRUE(look(960).reset);
}

TEST_F(Shedding, SparesPodsThatUseNoMoreThanTheirShare) {
  look(870);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(look(990, milliseconds(1100)).shedding, Pods{2});
}

TEST_F(Shedding, AddsTheNextPodWhenTheFirstWasNotEnough) {
  uses = {{1, 10}, {2, 400}, {3, 390}, {4, 10}};
  EXPECT_EQ(look(870).shedding, Pods{2});
  EXPECT_EQ(look(870).shedding, Pods{2});
  EXPECT_EQ(look(870, milliseconds(1100)).shedding, (Pods{2, 3}));
}

TEST_F(Shedding, ForgetsAPodThatLeft) {
  look(870);
  uses.erase(uses.begin() + 1);
  uses.push_back({5, 600});
  EXPECT_EQ(look(870).shedding, Pods{5});
}

TEST_F(Shedding, NeedsALimitAndSomebodyToBlame) {
  EXPECT_TRUE(policy.look(1'000'000, 0, uses, now).shedding.empty());
  uses = {{1, 0}};
  EXPECT_TRUE(look(999).shedding.empty());
  uses = {{1, 5}};
  EXPECT_EQ(look(999).shedding, Pods{1});
}

}  // namespace
}  // namespace heddle::proxy
