// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

// Events about pods, as the API server takes them. Pure.
namespace heddle::agent {

// Stable: people filter and alert by them (docs/agent.md).
enum class EventReason : std::uint8_t {
  enrolled,             // HeddleEnrolled
  released,             // HeddleReleased
  not_enrolled,         // HeddleNotEnrolled: it is to be meshed, and runs without
  interception_failed,  // HeddleInterceptionFailed: it cannot be made what it shall be; tried again
  annotation_ignored,   // HeddleAnnotationIgnored
};
std::string_view to_string(EventReason reason);

struct EventSubject {
  std::string ns;
  std::string pod;
  std::string uid;  // the API server's
};

struct Event {
  EventSubject subject;
  EventReason reason = EventReason::enrolled;
  std::string message;  // what happened, and what to do
  std::uint32_t count = 1;
  std::int64_t first_unix = 0;
  std::int64_t last_unix = 0;
};

// One per pod and reason: what happens again raises its count.
std::string event_name(const EventSubject& subject, EventReason reason);
std::string encode_event(const Event& event, std::string_view node);
// A merge patch of the same event.
std::string encode_event_repeat(const Event& event);

}  // namespace heddle::agent
