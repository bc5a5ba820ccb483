// SPDX-License-Identifier: Apache-2.0
#include "agent/events/event.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <ctime>

namespace heddle::agent {
namespace {

namespace json = boost::json;

// The API server's limit of 1,024 bytes.
std::string_view shortened(std::string_view message) {
  std::size_t size = std::min<std::size_t>(message.size(), 1000);
  while (size > 0 && size < message.size() && (static_cast<unsigned char>(message[size]) & 0xc0) == 0x80)
    --size;
  return message.substr(0, size);
}

std::string time_text(std::int64_t unix_seconds) {
  const std::time_t time = unix_seconds;
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

bool is_warning(EventReason reason) {
  return reason != EventReason::enrolled && reason != EventReason::released;
}

// FNV-1a: the same on every node and in every version.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

}  // namespace

std::string_view to_string(EventReason reason) {
  switch (reason) {
    case EventReason::enrolled:
      return "HeddleEnrolled";
    case EventReason::released:
      return "HeddleReleased";
    case EventReason::not_enrolled:
      return "HeddleNotEnrolled";
    case EventReason::interception_failed:
      return "HeddleInterceptionFailed";
    case EventReason::annotation_ignored:
      return "HeddleAnnotationIgnored";
  }
  return "HeddleEnrolled";
}

std::string event_name(const EventSubject& subject, EventReason reason) {
  char hash[17];
  std::snprintf(hash, sizeof hash, "%016llx",
                static_cast<unsigned long long>(hash_of(subject.uid + std::string(to_string(reason)))));
  constexpr std::size_t longest = 253 - sizeof hash;
  std::string name = subject.pod.substr(0, longest);
  while (!name.empty() && (name.back() == '.' || name.back() == '-')) name.pop_back();
  return name + "." + hash;
}

std::string encode_event(const Event& event, std::string_view node) {
  json::object involved;
  involved["apiVersion"] = "v1";
  involved["kind"] = "Pod";
  involved["namespace"] = event.subject.ns;
  involved["name"] = event.subject.pod;
  involved["uid"] = event.subject.uid;
  json::object metadata;
  metadata["name"] = event_name(event.subject, event.reason);
  metadata["namespace"] = event.subject.ns;
  json::object source;
  source["component"] = "heddle-agent";
  source["host"] = json::string_view(node.data(), node.size());
  json::object out;
  out["apiVersion"] = "v1";
  out["kind"] = "Event";
  out["metadata"] = std::move(metadata);
  out["involvedObject"] = std::move(involved);
  out["reason"] = json::string(to_string(event.reason));
  out["message"] = json::string(shortened(event.message));
  out["type"] = is_warning(event.reason) ? "Warning" : "Normal";
  out["source"] = std::move(source);
  out["firstTimestamp"] = time_text(event.first_unix);
  out["lastTimestamp"] = time_text(event.last_unix);
  out["count"] = event.count;
  return json::serialize(out);
}

std::string encode_event_repeat(const Event& event) {
  json::object out;
  out["count"] = event.count;
  out["lastTimestamp"] = time_text(event.last_unix);
  out["message"] = json::string(shortened(event.message));
  return json::serialize(out);
}

}  // namespace heddle::agent
