// SPDX-License-Identifier: Apache-2.0
#include "agent/events/event.h"

#include <gtest/gtest.h>

namespace heddle::agent {
namespace {

Event event() {
  return {{"shop", "web-1", "uid-1"}, EventReason::interception_failed, "why; do this", 2, 0, 60};
}

TEST(Event, IsAboutThePodWithTheNodeAsItsSource) {
  const std::string text = encode_event(event(), "node-1");
  EXPECT_NE(
      text.find(
          R"("involvedObject":{"apiVersion":"v1","kind":"Pod","namespace":"shop","name":"web-1","uid":"uid-1"})"),
      std::string::npos)
      << text;
  EXPECT_NE(
      text.find(
          R"("reason":"HeddleInterceptionFailed","message":"why; do this","type":"Warning",)"
          R"("source":{"component":"heddle-agent","host":"node-1"},)"
          R"("firstTimestamp":"1970-01-01T00:00:00Z","lastTimestamp":"1970-01-01T00:01:00Z","count":2)"),
      std::string::npos)
      << text;
}

TEST(Event, HasOneNamePerPodAndReason) {
  const auto subject = event().subject;
  EXPECT_EQ(event_name(subject, EventReason::enrolled), event_name(subject, EventReason::enrolled));
  EXPECT_NE(event_name(subject, EventReason::enrolled), event_name(subject, EventReason::released));
  EXPECT_NE(event_name(subject, EventReason::enrolled),
            event_name({"shop", "web-1", "uid-2"}, EventReason::enrolled));
}

TEST(Event, HasANameThatTheApiServerTakesHoweverLongThePodsIs) {
  const std::string name = event_name({"shop", std::string(235, 'a') + "-.b", "u"}, EventReason::enrolled);
  EXPECT_LE(name.size(), 253U);
  EXPECT_EQ(name.find("-."), std::string::npos) << name;
}

TEST(Event, CutsALongMessageBetweenCharacters) {
  Event long_one = event();
  long_one.message = std::string(999, 'x');
  long_one.message += "\u00e4\u00e4";
  const std::string text = encode_event_repeat(long_one);
  EXPECT_NE(text.find(std::string(999, 'x') + "\""), std::string::npos) << "half an umlaut is no UTF-8";
}

}  // namespace
}  // namespace heddle::agent
