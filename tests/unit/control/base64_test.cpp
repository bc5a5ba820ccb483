// SPDX-License-Identifier: Apache-2.0
#include "control/source/base64.h"

#include <gtest/gtest.h>

#include <iterator>

namespace heddle::source {
namespace {

// The vectors of RFC 4648, 10.
TEST(Base64, IsWhatTheStandardSays) {
  const std::string texts[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
  const std::string encoded[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
  for (std::size_t i = 0; i < std::size(texts); ++i) {
    EXPECT_EQ(to_base64(texts[i]), encoded[i]);
    EXPECT_EQ(from_base64(encoded[i]), texts[i]);
  }
  EXPECT_EQ(from_base64(to_base64("\xff\x80\x7f")), "\xff\x80\x7f");
  for (const char* bad : {"Zg", "Zg=", "Z===", "Zg==Zg==", "Zm 9", "Zm9-", "====", "Zm9v===="})
    EXPECT_FALSE(from_base64(bad)) << bad;
}

TEST(Base64, OfAKubeconfigMayBeBrokenIntoLinesAndLackItsPadding) {
  for (const char* good : {"Zm9vYg==", "Zm9vYg", "Zm9v\n  Yg==\n", "Zm9v\r\n\tYg"})
    EXPECT_EQ(from_written_base64(good), "foob") << good;
  for (const char* bad : {"Zm9vY", "Zg==Zg==", "Zm9-", "Zm9v."})
    EXPECT_FALSE(from_written_base64(bad)) << bad;
}

TEST(Base64, OfTokensHasOtherDigitsAndNoPadding) {
  EXPECT_EQ(from_base64url("_4B_"), "\xff\x80\x7f");
  EXPECT_EQ(from_base64url("Zm9vYg"), "foob");
  for (const char* bad : {"/4B/", "Zm9vYg==", "Z", "Zm9v.Yg"}) EXPECT_FALSE(from_base64url(bad)) << bad;
}

}  // namespace
}  // namespace heddle::source
