// SPDX-License-Identifier: Apache-2.0
#include "agent/interception.h"

#include <gtest/gtest.h>

namespace heddle::agent {
namespace {

using Choice = InterceptionChoice;
const Result<> works{};
const Result<> fails = make_error(Errc::unsupported, "sk_lookup: no BTF");

TEST(Interception, PrefersEbpfAndFallsBackWithTheReason) {
  EXPECT_EQ(choose_mode(Choice::automatic, Choice::automatic, works, works)->mode, Mode::ebpf);
  const auto fallen = choose_mode(Choice::automatic, Choice::automatic, fails, works);
  ASSERT_TRUE(fallen);
  EXPECT_EQ(fallen->mode, Mode::iptables);
  EXPECT_NE(fallen->reason.find("no BTF"), std::string::npos);
  EXPECT_FALSE(choose_mode(Choice::automatic, Choice::automatic, fails, fails));
}

TEST(Interception, NeverTakesAnotherWayThanTheOneAskedFor) {
  EXPECT_FALSE(choose_mode(Choice::ebpf, Choice::automatic, fails, works));
  EXPECT_FALSE(choose_mode(Choice::iptables, Choice::automatic, works, fails));
  EXPECT_FALSE(choose_mode(Choice::automatic, Choice::ebpf, fails, works));
}

TEST(Interception, LetsThePodOverrideTheNode) {
  EXPECT_EQ(choose_mode(Choice::ebpf, Choice::iptables, works, works)->mode, Mode::iptables);
  EXPECT_EQ(choose_mode(Choice::iptables, Choice::ebpf, works, works)->mode, Mode::ebpf);
}

TEST(Interception, JudgesEveryHook) {
  EXPECT_TRUE(judge_probe({{"connect4", true, ""}, {"sk_lookup", true, ""}}));
  const auto judged = judge_probe({{"connect4", true, ""}, {"sk_lookup", false, "refused"}});
  ASSERT_FALSE(judged);
  EXPECT_NE(judged.error().message().find("sk_lookup: refused"), std::string::npos);
  EXPECT_FALSE(judge_probe({}));
}

}  // namespace
}  // namespace heddle::agent
