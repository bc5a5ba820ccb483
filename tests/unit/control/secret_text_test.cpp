// SPDX-License-Identifier: Apache-2.0
#include "control/certify/secret_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace heddle::control {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(IssuerSecretText, ReadsBackWhatItWrites) {
  const IssuerSecretContent content{"certificate", "the-key", "root", "root-key!", "17"};
  const auto text = issuer_secret_object("heddle", "issuer", content);
  EXPECT_THAT(text, HasSubstr(R"("type":"kubernetes.io/tls")"));
  EXPECT_THAT(text, HasSubstr(R"("resourceVersion":"17")"));
  const auto back = read_issuer_secret(text);
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(back->certificate, "certificate");
  EXPECT_EQ(back->key, "the-key");
  EXPECT_EQ(back->root, "root");
  EXPECT_EQ(back->root_key, "root-key!");
  EXPECT_EQ(back->resource_version, "17");
  IssuerSecretContent fresh = content;
  fresh.resource_version.clear();
  EXPECT_THAT(issuer_secret_object("heddle", "issuer", fresh), Not(HasSubstr("resourceVersion")));
}

TEST(IssuerSecretText, ReadsLinkerdsForm) {
  const auto content = read_issuer_secret(
      R"({"kind":"Secret","metadata":{},"type":"linkerd.io/tls","data":{"crt.pem":"YWE=","key.pem":"Yg==","expiry":"eA=="}})");
  ASSERT_TRUE(content) << content.error().message();
  EXPECT_EQ(content->certificate, "aa");
  EXPECT_EQ(content->key, "b");
  EXPECT_EQ(content->root, "");
  EXPECT_EQ(content->root_key, "");
}

TEST(IssuerSecretText, NamesWhatIsMissingAndNeverAValue) {
  const auto none = read_issuer_secret(R"({"metadata":{},"data":{"tls.crt":"YWE="}})");
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().detail, HasSubstr("tls.key or key.pem"));
  const auto odd = read_issuer_secret(R"({"data":{"tls.crt":"YWE=","tls.key":"s3cr*t"}})");
  ASSERT_FALSE(odd);
  EXPECT_THAT(odd.error().detail, HasSubstr("tls.key is not base64"));
  EXPECT_THAT(odd.error().detail, Not(HasSubstr("s3cr")));
  for (const char* text : {"", "[]", "{", "7", R"({"data":[]})", R"({"data":{"tls.crt":7}})"}) {
    EXPECT_FALSE(read_issuer_secret(text)) << text;
  }
}

TEST(TrustAnchorsText, ReadBackAndRefusedWhereThereAreNone) {
  const auto back = read_trust_anchors(trust_anchors_object("heddle", "anchors", "-----BEGIN\nline\n"));
  ASSERT_TRUE(back) << back.error().message();
  EXPECT_EQ(*back, "-----BEGIN\nline\n");
  EXPECT_FALSE(read_trust_anchors(R"({"data":{"other":"x"}})"));
}

}  // namespace
}  // namespace heddle::control
