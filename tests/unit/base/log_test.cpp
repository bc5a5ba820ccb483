// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <gtest/gtest.h>

namespace heddle {
namespace {

TEST(Log, NamesTheAllowedLevelsAndFormats) {
  auto level = start_logging({.component = "test", .level = "loud"});
  ASSERT_FALSE(level);
  EXPECT_NE(level.error().message().find("debug"), std::string::npos) << level.error().message();
  auto format = start_logging({.component = "test", .format = "xml"});
  ASSERT_FALSE(format);
  EXPECT_NE(format.error().message().find("json"), std::string::npos) << format.error().message();
}

TEST(Log, WritesOneJsonObjectPerLineWithHostileTextEscaped) {
  testing::internal::CaptureStderr();
  ASSERT_TRUE(start_logging({.component = "test", .level = "info", .format = "json"}));
  spdlog::info("path={}", "a\"b\\c\nd");
  spdlog::debug("not shown");
  const auto text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find(R"("component":"test","message":"path=a\"b\\c\u000ad"})"), std::string::npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
}

TEST(Log, WritesPlainLinesWithTimeLevelAndComponent) {
  testing::internal::CaptureStderr();
  ASSERT_TRUE(start_logging({.component = "agent"}));
  spdlog::warn("disk full path=/x");
  const auto text = testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("warning agent: disk full path=/x\n"), std::string::npos) << text;
}

}  // namespace
}  // namespace heddle
