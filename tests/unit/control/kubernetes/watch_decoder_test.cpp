// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/watch_decoder.h"

#include <gtest/gtest.h>

namespace heddle::source::kubernetes {
namespace {

using Type = WatchEvent::Type;

const std::string body =
    R"({"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"a","resourceVersion":"7"}}})"
    "\n"
    R"({"type":"MODIFIED","object":{"metadata":{"name":"a\nb","resourceVersion":"8"}},"later":1})"
    "\r\n\n"
    R"({"type":"RENAMED","object":{"metadata":{"resourceVersion":"9"}}})"
    "\n"
    R"({"type":"DELETED","object":{"metadata":{"name":"a","resourceVersion":"10"}}})"
    "\n"
    R"({"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"11"}}})"
    "\n"
    R"({"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old\u0001","reason":"Expired"}})"
    "\n";

std::vector<WatchEvent> decode_in_chunks(std::size_t size) {
  WatchDecoder decoder;
  std::vector<WatchEvent> events;
  for (std::size_t at = 0; at < body.size(); at += size) {
    const auto fed = decoder.feed(std::string_view(body).substr(at, size),
                                  [&](WatchEvent event) { events.push_back(std::move(event)); });
    EXPECT_TRUE(fed) << fed.error().message();
  }
  EXPECT_EQ(decoder.pending(), 0U);
  return events;
}

TEST(WatchDecoder, GivesTheSameEventsHoweverTheBodyIsCut) {
  for (std::size_t size = 1; size <= body.size(); ++size) {
    const auto events = decode_in_chunks(size);
    ASSERT_EQ(events.size(), 5U) << "chunks of " << size;
    const Type types[] = {Type::added, Type::modified, Type::deleted, Type::bookmark, Type::error};
    const char* versions[] = {"7", "8", "10", "11", ""};
    for (std::size_t i = 0; i < events.size(); ++i) {
      EXPECT_EQ(events[i].type, types[i]) << i;
      EXPECT_EQ(resource_version_of(events[i].object), versions[i]) << i;
    }
    EXPECT_EQ(code_of(events[4].object), 410);
    EXPECT_EQ(message_of(events[4].object), "too old?");
  }
}

TEST(WatchDecoder, RefusesWhatIsNoEventAfterGivingTheEventsBefore) {
  for (const std::string wrong : {"{", "[]", "1", R"({"type":"ADDED"})", R"({"type":"ADDED","object":[]})",
                                  R"({"type":"ADDED","object":{}}{"type":"ADDED","object":{}})", "<html>"}) {
    WatchDecoder decoder;
    int events = 0;
    const auto fed = decoder.feed("{\"type\":\"ADDED\",\"object\":{}}\n" + wrong + "\n",
                                  [&](const WatchEvent&) { ++events; });
    ASSERT_FALSE(fed) << wrong;
    EXPECT_EQ(fed.error().code, Errc::protocol) << wrong;
    EXPECT_EQ(events, 1) << wrong;
  }
}

TEST(WatchDecoder, BoundsALineInOnePieceOrInMany) {
  const std::string line = R"({"type":"ADDED","object":{"x":")" + std::string(100, 'x') + "\"}}\n";
  const auto ignore = [](const WatchEvent&) {};
  WatchDecoder enough(line.size() - 1);
  EXPECT_TRUE(enough.feed(line, ignore));
  WatchDecoder small(line.size() - 2);
  EXPECT_EQ(small.feed(line, ignore).error().code, Errc::exhausted);
  WatchDecoder pieces(line.size() - 2);
  std::size_t taken = 0;
  while (taken < line.size() && pieces.feed(line.substr(taken, 1), ignore)) ++taken;
  EXPECT_EQ(taken, line.size() - 2);
  EXPECT_LE(pieces.pending(), line.size() - 2);
}

TEST(WatchDecoder, ReadsTheSteeringPartsOfAnythingAtAll) {
  const auto values =
      read_json(R"({"metadata":3,"code":"x","message":[]} {"metadata":{"resourceVersion":{}}})");
  ASSERT_TRUE(values);
  for (const Value& value : *values) {
    EXPECT_EQ(resource_version_of(value), "");
    EXPECT_EQ(continue_of(value), "");
    EXPECT_EQ(code_of(value), 0);
    EXPECT_EQ(message_of(value), "");
  }
}

}  // namespace
}  // namespace heddle::source::kubernetes
