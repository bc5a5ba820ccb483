// SPDX-License-Identifier: Apache-2.0
#include "cni/json_text.h"

#include <gtest/gtest.h>

#include <string>

namespace heddle::cni {
namespace {

std::string member_text(std::string_view text, std::string_view key) {
  const auto span = member(text, document(text), key);
  return span ? std::string(span->of(text)) : "(none)";
}

TEST(JsonText, CutsMembersOutExactlyAsTheyAreWritten) {
  constexpr std::string_view text =
      R"( { "a" : 1.0e2 ,"b":{ "x": [1, {"y":"}\""} ] }, "c":"q\"]" , "d":true} )";
  EXPECT_EQ(member_text(text, "a"), "1.0e2");
  EXPECT_EQ(member_text(text, "b"), R"({ "x": [1, {"y":"}\""} ] })");
  EXPECT_EQ(member_text(text, "c"), R"("q\"]")");
  EXPECT_EQ(member_text(text, "d"), "true");
  EXPECT_EQ(member_text(text, "x"), "(none)");
}

TEST(JsonText, TakesTheLastOfDuplicateKeysAsTheParserDoes) {
  EXPECT_EQ(member_text(R"({"a":1,"a":2})", "a"), "2");
}

TEST(JsonText, RecognisesKeysSpelledWithEscapes) {
  EXPECT_EQ(member_text(R"({"prev\u0052esult":{"k":1}})", "prevResult"), R"({"k":1})");
}

TEST(JsonText, FindsNothingInOtherKindsOfValues) {
  EXPECT_EQ(member_text("[1,2]", "a"), "(none)");
  EXPECT_EQ(member_text("\"a\"", "a"), "(none)");
  EXPECT_EQ(member_text("{}", "a"), "(none)");
  EXPECT_TRUE(elements("{}", document("{}")).empty());
  EXPECT_TRUE(elements("[ ]", document("[ ]")).empty());
}

TEST(JsonText, ListsTheElementsOfAnArray) {
  constexpr std::string_view text = R"([ {"a":[1,2]} ,"x,y", -3 ,null])";
  const auto found = elements(text, document(text));
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0].of(text), R"({"a":[1,2]})");
  EXPECT_EQ(found[1].of(text), R"("x,y")");
  EXPECT_EQ(found[2].of(text), "-3");
  EXPECT_EQ(found[3].of(text), "null");
}

TEST(JsonText, StaysInBoundsOnBrokenText) {
  for (const std::string_view text :
       {"", "{", "[", "{\"", "{\"a", "{\"a\"", "{\"a\":", "[1", "[1,", "{\"a\":\"\\", "]"}) {
    (void)member(text, document(text), "a");
    for (const Span span : elements(text, document(text))) EXPECT_LE(span.end, text.size()) << text;
  }
}

}  // namespace
}  // namespace heddle::cni
