// SPDX-License-Identifier: Apache-2.0
#include "tools/diagnostics/scrub.h"

#include <gmock/gmock.h>

namespace heddle::tools {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing::Not;

class Credential : public testing::TestWithParam<const char*> {};

TEST_P(Credential, IsNotInWhatIsLeft) {
  const auto left = scrub_text(GetParam());
  EXPECT_THAT(left, Not(HasSubstr("hunter2"))) << left;
  EXPECT_THAT(left, HasSubstr(std::string(redacted)));
  EXPECT_EQ(scrub_text(left), left) << "a second time changes it";
}

INSTANTIATE_TEST_SUITE_P(
    Written, Credential,
    testing::Values("password=hunter2", "DB_PASSWORD=hunter2 next", "password: hunter2",
                    "password: very hunter2", "PASSWORD = hunter2", "{\"password\":\"hunter2\"}",
                    "{\"password\" : \"a \\\" hunter2\"}", "{\\\"password\\\":\\\"hunter2\\\"}",
                    "--password hunter2", "--api-key=hunter2", "x.secret.key='hunter2'",
                    "Authorization: Bearer hunter2", "authorization: Basic aHVudGVyMjpodW50ZXIy-hunter2",
                    "curl -H 'Authorization: hunter2'", "bearer hunter2", "got Bearer hunter2, refused",
                    "Cookie: session=hunter2; a=b", "Set-Cookie: hunter2",
                    "postgres://admin:hunter2@db:5432/shop", "https://hunter2@registry.example/v2",
                    "GET /cart?session=hunter2&a=hunter2 200", "token: hunter2",
                    "eyJhbGciOiJSUzI1NiJ9.hunter2.hunter2",
                    "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
                    "said -----BEGIN EC PRIVATE KEY-----\nhunter2\nhunter2", "AWS_SECRET_ACCESS_KEY=hunter2",
                    "-----BEGIN RSA PRIVATE KEY-----\\nhunter2\\n-----END RSA PRIVATE KEY-----",
                    "hunter2hunter2hunter2hunter2hunter2hunter2hunter2+/="));

class Plain : public testing::TestWithParam<const char*> {};

TEST_P(Plain, StaysAsItIs) {
  EXPECT_EQ(scrub_text(GetParam()), GetParam());
}

INSTANTIATE_TEST_SUITE_P(
    Text, Plain,
    testing::Values(
        "", "\n\n", "a line\nanother", "--token-file=/var/run/secrets/heddle.io/identity/token",
        "heddle_control_token_reviews_total{result=\"ok\"} 3", "token: No such file or directory",
        "basic checks passed", "why? nobody knows", "netns_cookie=4711",
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "http://10.0.0.1:80/a/b",
        "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQmFzZTY0IG9mIGEgY2VydGlmaWNhdGUwCgYI\n-----END "
        "CERTIFICATE-----\n",
        "identity default.shop.serviceaccount.identity.heddle.cluster.local valid"));

TEST(ScrubText, KeepsWhatFollowsAKey) {
  EXPECT_EQ(scrub_text("a\n-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\nb\n"),
            "a\n<redacted>\nb\n");
}

TEST(ScrubText, KeepsTheNamesOfAQuerysValues) {
  EXPECT_EQ(scrub_text("GET /a?b=1&c=x=y HTTP"), "GET /a?b=<redacted>&c=<redacted> HTTP");
}

TEST(ScrubJson, ReplacesTextOfKeysNamedLikeCredentials) {
  json::value value = json::parse(
      R"({"k8s_auth_token":"a","token_file":"/t","tokens":3,"list":["password=b",{"secret":{"deep":"kept"}}],"secretName":"n"})");
  scrub_json(value);
  EXPECT_EQ(json::serialize(value),
            R"j({"k8s_auth_token":"<redacted>","token_file":"/t","tokens":3,"list":["password=<redacted>",)j"
            R"j({"secret":{"deep":"kept"}}],"secretName":"n"})j");
}

}  // namespace
}  // namespace heddle::tools
