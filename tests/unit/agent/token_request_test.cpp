// SPDX-License-Identifier: Apache-2.0
#include "agent/identity/token_request.h"

#include <gtest/gtest.h>

namespace heddle::agent {
namespace {

const TokenSubject subject{"shop", "web-1", "uid-1", "robot"};

TEST(TokenRequest, IsBoundToThePodAndForOneAudience) {
  EXPECT_EQ(token_target(subject), "/api/v1/namespaces/shop/serviceaccounts/robot/token");
  EXPECT_EQ(encode_token_request(subject, "identity.heddle.io", std::chrono::seconds(3600)),
            R"({"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"audiences":)"
            R"(["identity.heddle.io"],"expirationSeconds":3600,"boundObjectRef":{"apiVersion":"v1",)"
            R"("kind":"Pod","name":"web-1","uid":"uid-1"}}})");
}

TEST(TokenRequest, HasTheLifeThatTheServerGave) {
  const auto granted =
      decode_token_answer(201, R"({"spec":{"expirationSeconds":607},"status":{"token":"abc"}})");
  ASSERT_TRUE(granted);
  EXPECT_EQ(granted->token, "abc");
  EXPECT_EQ(granted->lifetime, std::chrono::seconds(607));
}

TEST(TokenRequest, TellsWhatMayPassFromWhatSomebodyMustMend) {
  const auto code = [](int status) { return decode_token_answer(status, "{}").error().code; };
  EXPECT_EQ(code(403), make_error_code(Errc::permission_denied));
  EXPECT_EQ(code(404), make_error_code(Errc::not_found));
  EXPECT_EQ(code(409), make_error_code(Errc::not_found));
  EXPECT_EQ(code(422), make_error_code(Errc::invalid_argument));
  EXPECT_EQ(code(429), make_error_code(Errc::unavailable));
  EXPECT_EQ(code(500), make_error_code(Errc::unavailable));
}

TEST(TokenRequest, RefusesAnswersThatAreNoneAndNeverRepeatsThem) {
  for (const char* body : {"", "[]", "{}", "{\"spec\":{},\"status\":{\"token\":\"s3cret\"}}",
                           R"({"spec":{"expirationSeconds":0},"status":{"token":"s3cret"}})",
                           R"({"spec":{"expirationSeconds":60},"status":{"token":""}})",
                           R"({"spec":{"expirationSeconds":"60"},"status":{"token":"s3cret"}})"}) {
    const auto granted = decode_token_answer(201, body);
    ASSERT_FALSE(granted) << body;
    EXPECT_EQ(granted.error().message().find("s3cret"), std::string::npos) << body;
  }
}

}  // namespace
}  // namespace heddle::agent
