// SPDX-License-Identifier: Apache-2.0
#include "control/certify/review.h"

#include <gtest/gtest.h>

#include "control/source/document.h"

namespace heddle::control {
namespace {

std::string review(const std::string& status) {
  return R"({"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","metadata":{"creationTimestamp":null},)"
         R"("spec":{"token":"a.b.c","audiences":["mesh"]},"status":)" +
         status + "}";
}

std::string accepted(const std::string& username, const std::string& extra,
                     const std::string& audiences = R"(["mesh"])") {
  return review(R"({"authenticated":true,"user":{"username":")" + username +
                R"(","groups":["system:authenticated"],"extra":{)" + extra + R"(}},"audiences":)" +
                audiences + "}");
}

const std::string pod =
    R"("authentication.kubernetes.io/pod-name":["client"],"authentication.kubernetes.io/pod-uid":["63fc"])";

ReviewResult result_of(int status, const std::string& body) {
  const Review review = decode_token_review(status, body, "mesh");
  const auto* failure = std::get_if<ReviewFailure>(&review);
  return failure == nullptr ? ReviewResult::accepted : failure->result;
}

TEST(TokenReview, NamesThePodThatATokenIsBoundTo) {
  EXPECT_EQ(
      std::get<TokenOwner>(decode_token_review(201, accepted("system:serviceaccount:shop:web", pod), "mesh")),
      (TokenOwner{"shop", "web", "client", "63fc", ""}));
  const std::string node = R"(,"authentication.kubernetes.io/node-name":["n1"])";
  EXPECT_EQ(std::get<TokenOwner>(
                decode_token_review(200, accepted("system:serviceaccount:shop:web", pod + node), "mesh")),
            (TokenOwner{"shop", "web", "client", "63fc", "n1"}));
}

TEST(TokenReview, TellsApartWhyATokenIsRefused) {
  EXPECT_EQ(result_of(201, review(R"({"user":{},"error":"[invalid bearer token, Token has expired.]"})")),
            ReviewResult::expired);
  EXPECT_EQ(
      result_of(201, review(R"({"user":{},"error":"[invalid bearer token, token audiences [\"mesh\"] is )"
                            R"(invalid for the target audiences [\"other\"]]"})")),
      ReviewResult::audience);
  EXPECT_EQ(
      result_of(201, review(R"({"user":{},"error":"[invalid bearer token, Token has been invalidated]"})")),
      ReviewResult::invalid);
  EXPECT_EQ(result_of(201, review(R"({"user":{}})")), ReviewResult::invalid);
}

TEST(TokenReview, TakesNoTokenWhoseAudienceTheServerDoesNotConfirm) {
  const std::string user = "system:serviceaccount:shop:web";
  EXPECT_EQ(result_of(201, accepted(user, pod, "[]")), ReviewResult::audience);
  EXPECT_EQ(result_of(201, accepted(user, pod, R"(["https://kubernetes.default.svc"])")),
            ReviewResult::audience);
  EXPECT_EQ(result_of(201, accepted(user, pod, "null")), ReviewResult::audience);
  EXPECT_EQ(result_of(201, accepted(user, pod, R"(["other","mesh"])")), ReviewResult::accepted);
}

TEST(TokenReview, TakesOnlyTokensOfServiceAccountsThatAreBoundToAPod) {
  const std::string user = "system:serviceaccount:shop:web";
  EXPECT_EQ(result_of(201, accepted(user, "")), ReviewResult::not_bound);
  EXPECT_EQ(result_of(201, accepted(user, R"("authentication.kubernetes.io/pod-name":["client"])")),
            ReviewResult::not_bound);
  EXPECT_EQ(result_of(201, accepted(user, R"("authentication.kubernetes.io/pod-name":["a","b"],)"
                                          R"("authentication.kubernetes.io/pod-uid":["63fc"])")),
            ReviewResult::not_bound);
  for (const std::string other :
       {"admin", "system:node:n1", "system:serviceaccount:", "system:serviceaccount:a",
        "system:serviceaccount::web", "system:serviceaccount:shop:"}) {
    EXPECT_EQ(result_of(201, accepted(other, pod)), ReviewResult::not_bound) << other;
  }
}

TEST(TokenReview, BlamesTheServerForAnswersThatAreNoReview) {
  for (const std::string body : {"", "garbage", "{}", "[]", R"({"kind":"TokenReview"})",
                                 R"({"kind":"Status","status":{"authenticated":true}})"}) {
    EXPECT_EQ(result_of(200, body), ReviewResult::unavailable) << body;
  }
  for (const int status : {404, 409, 429, 500, 503}) {
    EXPECT_EQ(result_of(status, accepted("system:serviceaccount:shop:web", pod)), ReviewResult::unavailable);
  }
  EXPECT_EQ(result_of(401, ""), ReviewResult::forbidden);
  EXPECT_EQ(result_of(403, ""), ReviewResult::forbidden);
}

TEST(TokenReview, SendsNothingButATokenInsideItsString) {
  EXPECT_TRUE(is_token("eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOlsibWVzaCJdfQ.c2ln-_="));
  for (const std::string bad : {"", "a\"b", "a b", "a\nb", "n1:secret", "a\\b"})
    EXPECT_FALSE(is_token(bad)) << bad;
  EXPECT_TRUE(is_token(std::string(16 * 1024, 'a')));
  EXPECT_FALSE(is_token(std::string(16 * 1024 + 1, 'a')));
  const auto sent = source::read_json(encode_token_review("a.b.c", "mesh")).value();
  const source::Value& spec = *sent.at(0).find("spec");
  EXPECT_EQ(spec.find("token")->scalar, "a.b.c");
  EXPECT_EQ(spec.find("audiences")->items.at(0).scalar, "mesh");
}

TEST(TokenReview, IsCountedByResultAndByTheTimeItTook) {
  ReviewCounters counters;
  counters.count(ReviewResult::expired, std::chrono::milliseconds(7));
  counters.count(ReviewResult::accepted, std::chrono::seconds(9));
  EXPECT_EQ(counters.results[static_cast<std::size_t>(ReviewResult::expired)], 1U);
  EXPECT_EQ(counters.took[1], 1U);
  EXPECT_EQ(counters.took.back(), 1U);
  EXPECT_EQ(counters.took_microseconds, 9'007'000U);
}

}  // namespace
}  // namespace heddle::control
