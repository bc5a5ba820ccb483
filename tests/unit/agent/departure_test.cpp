// SPDX-License-Identifier: Apache-2.0
#include "agent/departure.h"

#include <gtest/gtest.h>

namespace heddle::agent {
namespace {

constexpr const char* present = R"({"kind":"DaemonSet","metadata":{"name":"heddle-agent","uid":"u-1"}})";
constexpr const char* ending =
    R"({"metadata":{"name":"heddle-agent","uid":"u-1","deletionTimestamp":"2026-11-20T11:03:13Z"}})";
constexpr const char* not_found =
    R"({"kind":"Status","status":"Failure","reason":"NotFound","details":{"name":"heddle-agent"},"code":404})";

Result<DaemonSetState> read(int status, const char* body) {
  return read_daemonset(status, body, "heddle-agent");
}

TEST(Departure, IsForGoodOnlyWhenTheDaemonSetThatWasSeenIsGoneOrGoing) {
  const std::optional<std::string> seen = "u-1";
  EXPECT_TRUE(judge_departure(seen, read(404, not_found)).uninstalled);
  EXPECT_TRUE(judge_departure(seen, read(200, ending)).uninstalled);
  EXPECT_FALSE(judge_departure(seen, read(200, present)).uninstalled);
  // Deleted and made again: the next agent takes over.
  EXPECT_FALSE(judge_departure("u-0", read(200, present)).uninstalled);
  EXPECT_FALSE(judge_departure("u-0", read(200, ending)).uninstalled);
}

TEST(Departure, NeverTakesHeddleOffANodeForWantOfKnowledge) {
  const std::optional<std::string> seen = "u-1";
  EXPECT_FALSE(judge_departure(std::nullopt, read(404, not_found)).uninstalled) << "the name may be wrong";
  EXPECT_FALSE(judge_departure(seen, make_error(Errc::timeout, "no answer")).uninstalled);
  for (const int status : {401, 403, 500, 503}) {
    EXPECT_FALSE(judge_departure(seen, read(status, not_found)).uninstalled) << status;
  }
  // A server that is no API server, and one that does not know this kind of object.
  for (const char* body : {"", "404 page not found", "[]", R"({"reason":"NotFound"})",
                           R"({"reason":"NotFound","details":{"name":"other"}})"}) {
    EXPECT_FALSE(judge_departure(seen, read(404, body)).uninstalled) << body;
    EXPECT_FALSE(judge_departure(seen, read(200, body)).uninstalled) << body;
  }
}

TEST(Departure, IsForGoodWhenTheRightToAskWentWithTheDaemonSet) {
  const std::optional<std::string> seen = "u-1";
  const auto refused = read(403, R"({"message":"daemonsets is forbidden"})");
  EXPECT_TRUE(judge_departure(seen, refused, DaemonSetState{false, "u-1", false}).uninstalled);
  EXPECT_TRUE(judge_departure(seen, refused, DaemonSetState{true, "u-1", true}).uninstalled);
  EXPECT_FALSE(judge_departure(seen, refused, DaemonSetState{true, "u-1", false}).uninstalled);
  // Another of the same name came and went: whose agent this is says the answer alone.
  EXPECT_FALSE(judge_departure(seen, refused, DaemonSetState{true, "u-2", false}).uninstalled);
  EXPECT_FALSE(judge_departure(seen, refused, DaemonSetState{false, "u-2", false}).uninstalled);
  EXPECT_FALSE(judge_departure(std::nullopt, refused, DaemonSetState{false, "u-1", false}).uninstalled);
  // An answer counts more than what was told before.
  EXPECT_FALSE(judge_departure(seen, read(200, present), DaemonSetState{false, "u-1", false}).uninstalled);
}

TEST(Departure, SaysWhy) {
  const auto refused = judge_departure("u-1", read(403, R"({"message":"daemonsets is forbidden"})"));
  EXPECT_NE(refused.reason.find("403 daemonsets is forbidden"), std::string::npos) << refused.reason;
  EXPECT_NE(judge_departure(std::nullopt, read(404, not_found)).reason.find("--daemonset"),
            std::string::npos);
}

}  // namespace
}  // namespace heddle::agent
