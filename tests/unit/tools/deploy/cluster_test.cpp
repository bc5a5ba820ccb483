// SPDX-License-Identifier: Apache-2.0
#include "tools/deploy/cluster.h"

#include <gtest/gtest.h>

namespace heddle::tools {
namespace {

TEST(Installed, ReadsWhatWasChosen) {
  const auto installed =
      installed_from(R"({"kind":"ConfigMap","data":{"version":"0.1.0","values":"{\"a\":1}"}})");
  ASSERT_TRUE(installed) << installed.error().message();
  EXPECT_EQ(installed->version, "0.1.0");
  EXPECT_EQ(installed->chosen.at("a").as_int64(), 1);
}

TEST(Installed, RefusesWhatItDidNotWrite) {
  for (const char* text :
       {"", "[]", "{}", R"({"data":[]})", R"({"data":{"version":"1"}})",
        R"({"data":{"version":1,"values":"{}"}})", R"({"data":{"version":"1","values":"[]"}})",
        R"({"data":{"version":"1","values":"{"}})"}) {
    EXPECT_FALSE(installed_from(text)) << text;
  }
}

TEST(Installed, ComparesVersionsByNumber) {
  EXPECT_TRUE(is_downgrade("0.10.0", "0.9.0"));
  EXPECT_TRUE(is_downgrade("v1.0", "0.9.9"));
  EXPECT_TRUE(is_downgrade("1.0.1", "1.0"));
  EXPECT_FALSE(is_downgrade("0.9.0", "0.10.0"));
  EXPECT_FALSE(is_downgrade("1.2.3", "1.2.3"));
  EXPECT_FALSE(is_downgrade("1.2.3-rc1", "1.2.3"));
  EXPECT_FALSE(is_downgrade("what", "1.0"));
}

}  // namespace
}  // namespace heddle::tools
