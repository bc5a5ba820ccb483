// SPDX-License-Identifier: Apache-2.0
#include "tools/cluster/exec_frames.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace heddle::tools {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

std::string frame(char channel, const std::string& bytes) {
  return std::string(1, channel) + bytes;
}

TEST(ExecPath, NamesPodContainerAndEveryArgumentEscaped) {
  EXPECT_EQ(
      exec_path({"heddle", "heddle-agent-x", "agent"}, {"heddle", "admin", "proxy", "/tap?pod=a/b&x=1"}),
      "/api/v1/namespaces/heddle/pods/heddle-agent-x/exec?stdout=1&stderr=1&container=agent"
      "&command=heddle&command=admin&command=proxy&command=%2Ftap%3Fpod%3Da%2Fb%26x%3D1");
  EXPECT_THAT(exec_path({"a", "b", ""}, {"ls"}), EndsWith("/exec?stdout=1&stderr=1&command=ls"));
}

TEST(ExecFrames, HandOutStandardOutputAndKeepStandardError) {
  ExecFrames frames;
  std::string_view out;
  const std::string first = frame(1, "one\n");
  ASSERT_TRUE(frames.feed(first, out));
  EXPECT_EQ(out, "one\n");
  ASSERT_TRUE(frames.feed(frame(2, "heddle: no\n"), out));
  EXPECT_EQ(out, "");
  ASSERT_TRUE(frames.feed(frame(1, ""), out));  // what every conversation begins with
  ASSERT_TRUE(frames.feed("", out));
  EXPECT_FALSE(frames.ended());
  EXPECT_EQ(frames.standard_error(), "heddle: no\n");
}

TEST(ExecFrames, TellHowTheProgramEnded) {
  std::string_view out;
  ExecFrames fine;
  ASSERT_TRUE(fine.feed(frame(3, R"({"metadata":{},"status":"Success"})"), out));
  EXPECT_TRUE(fine.ended());
  EXPECT_EQ(fine.end().exit_code, 0);

  ExecFrames failed;
  ASSERT_TRUE(failed.feed(
      frame(3, R"({"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code",)"
               R"("reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"126"}]}})"),
      out));
  EXPECT_EQ(failed.end().exit_code, 126);
  EXPECT_THAT(failed.end().why, HasSubstr("non-zero exit code"));

  ExecFrames unstarted;
  ASSERT_TRUE(unstarted.feed(
      frame(3, R"({"status":"Failure","message":"exec: \"heddle\": executable file not found","code":500})"),
      out));
  EXPECT_EQ(unstarted.end().exit_code, 1);
  EXPECT_THAT(unstarted.end().why, HasSubstr("not found"));
}

TEST(ExecFrames, RefuseWhatHasNoMeaning) {
  std::string_view out;
  ExecFrames frames;
  EXPECT_FALSE(frames.feed(frame(7, "x"), out));
  EXPECT_FALSE(frames.feed(frame(3, "not json"), out));
  EXPECT_FALSE(frames.feed(frame(3, "[]"), out));
  EXPECT_FALSE(frames.ended());
}

TEST(ExecFrames, KeepTheBeginningOfEndlessStandardError) {
  ExecFrames frames;
  std::string_view out;
  const std::string piece = frame(2, std::string(40'000, 'e'));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(frames.feed(piece, out));
  EXPECT_EQ(frames.standard_error().size(), ExecFrames::error_limit);
}

}  // namespace
}  // namespace heddle::tools
