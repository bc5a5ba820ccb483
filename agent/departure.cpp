// SPDX-License-Identifier: Apache-2.0
#include "agent/departure.h"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

namespace heddle::agent {
namespace {

namespace json = boost::json;

// The string at a path of keys; empty where there is none.
std::string text_at(const json::value& value, std::initializer_list<std::string_view> path) {
  const json::value* at = &value;
  for (const std::string_view key : path) {
    at = at->is_object() ? at->get_object().if_contains({key.data(), key.size()}) : nullptr;
    if (at == nullptr) return {};
  }
  return at->is_string() ? std::string(at->get_string()) : std::string();
}

}  // namespace

Result<DaemonSetState> read_daemonset(int status, std::string_view body, std::string_view name) {
  boost::system::error_code ec;
  const auto value = json::parse({body.data(), body.size()}, ec);
  const bool readable = !ec && value.is_object();
  if (status == 404 && readable && text_at(value, {"reason"}) == "NotFound" &&
      text_at(value, {"details", "name"}) == name) {
    return DaemonSetState{};
  }
  if (status == 200 && readable && text_at(value, {"metadata", "name"}) == name) {
    DaemonSetState out{true, text_at(value, {"metadata", "uid"}),
                       !text_at(value, {"metadata", "deletionTimestamp"}).empty()};
    if (!out.uid.empty()) return out;
  }
  return make_error(Errc::unavailable, "the API server answered " + std::to_string(status) + " " +
                                           (readable ? text_at(value, {"message"}) : std::string()));
}

Departure judge_departure(const std::optional<std::string>& seen_uid, const Result<DaemonSetState>& now,
                          const std::optional<DaemonSetState>& told) {
  if (!now) {
    if (seen_uid && told && told->uid == *seen_uid && (!told->exists || told->being_deleted)) {
      return {true, "its DaemonSet was deleted, and now cannot be looked up: " + now.error().message()};
    }
    return {false, "its DaemonSet cannot be looked up: " + now.error().message()};
  }
  if (!seen_uid) {
    return {false, "its DaemonSet was never seen; see --daemonset and --control-namespace"};
  }
  if (!now->exists) return {true, "its DaemonSet is gone"};
  if (now->uid != *seen_uid) return {false, "its DaemonSet was made anew"};
  if (now->being_deleted) return {true, "its DaemonSet is being deleted"};
  return {false, "its DaemonSet stays"};
}

}  // namespace heddle::agent
