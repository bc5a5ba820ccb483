// SPDX-License-Identifier: Apache-2.0
#include "control/certify/precheck.h"

#include <gtest/gtest.h>

#include "json_web_token.h"

namespace heddle::control {
namespace {

using std::chrono::minutes;
using test::json_web_token;

constexpr const char* ours = "identity.heddle.io";
const auto now = std::chrono::system_clock::now();

std::string at(std::chrono::system_clock::time_point time) {
  return std::to_string(std::chrono::system_clock::to_time_t(time));
}

// Empty: it would be asked about.
std::string verdict(const std::string& token) {
  const auto refused = precheck_token(token, ours, now);
  return refused ? std::string(review_result_names[static_cast<std::size_t>(refused->result)]) : "";
}

std::string claims(const std::string& audience, const std::string& more = "") {
  return json_web_token(R"({"aud":)" + audience + more + "}");
}

TEST(Precheck, LetsPassWhatMayBeGood) {
  EXPECT_EQ(verdict(claims(R"(["identity.heddle.io"])")), "");
  EXPECT_EQ(verdict(claims(R"("identity.heddle.io")")), "");
  EXPECT_EQ(verdict(claims(R"(["https://kubernetes.default.svc","identity.heddle.io"])")), "");
  EXPECT_EQ(verdict(claims(R"(["identity.heddle.io"])", ",\"exp\":" + at(now + minutes(10)))), "");
  EXPECT_EQ(verdict(claims(R"(["identity.heddle.io"])", ",\"exp\":" + at(now + minutes(10)) + ".5")), "");
}

TEST(Precheck, RefusesWhatIsNoWebToken) {
  const std::string good = claims(R"(["identity.heddle.io"])");
  ASSERT_EQ(verdict(good), "");
  const auto first = good.find('.');
  const auto second = good.find('.', first + 1);
  for (const std::string& bad :
       {std::string(), std::string("opaque"), std::string("a.b.c"), std::string(".."), good.substr(0, second),
        good.substr(0, second + 1), good.substr(first), good + ".x", good + "=", good + " ",
        "e30." + good.substr(first + 1, second - first) + "A", "bm8" + good.substr(first),
        good.substr(0, first) + ".W10" + good.substr(second), good + std::string(16 * 1024, 'A')}) {
    EXPECT_EQ(verdict(bad), "invalid") << bad.substr(0, 80);
  }
}

TEST(Precheck, RefusesWhatIsForAnotherAudienceOrNone) {
  EXPECT_EQ(verdict(claims(R"(["https://kubernetes.default.svc"])")), "audience");
  EXPECT_EQ(verdict(claims(R"("identity.heddle.io.example")")), "audience");
  EXPECT_EQ(verdict(claims("[]")), "audience");
  EXPECT_EQ(verdict(claims(R"({"identity.heddle.io":1})")), "audience");
  EXPECT_EQ(verdict(json_web_token(R"({"iss":"kubernetes/serviceaccount"})")), "audience");
}

TEST(Precheck, RefusesWhatExpiredLongerAgoThanClocksDiffer) {
  const auto with = [](const std::string& end) { return verdict(claims(R"(["identity.heddle.io"])", end)); };
  EXPECT_EQ(with(",\"exp\":" + at(now - minutes(4))), "");
  EXPECT_EQ(with(",\"exp\":" + at(now - minutes(6))), "expired");
  EXPECT_EQ(with(",\"exp\":0"), "expired");
  EXPECT_EQ(with(",\"exp\":-1e300"), "expired");
  EXPECT_EQ(with(R"(,"exp":"soon")"), "") << "the API server's to judge";
}

}  // namespace
}  // namespace heddle::control
