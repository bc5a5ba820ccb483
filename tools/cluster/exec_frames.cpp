// SPDX-License-Identifier: Apache-2.0
#include "tools/cluster/exec_frames.h"

#include <boost/json.hpp>
#include <charconv>

#include "tools/http/query.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

// Channels of v4.channel.k8s.io: the first byte of each frame.
constexpr char standard_output = 1;
constexpr char standard_error_channel = 2;
constexpr char status_channel = 3;

std::string text_of(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

// The exit code is a cause of the failure, as a decimal number.
int exit_code_of(const json::object& status) {
  const auto* details = status.if_contains("details");
  const auto* causes =
      details && details->is_object() ? details->get_object().if_contains("causes") : nullptr;
  if (!causes || !causes->is_array()) return 1;
  for (const auto& value : causes->get_array()) {
    const auto* cause = value.if_object();
    if (!cause || text_of(*cause, "reason") != "ExitCode") continue;
    const auto text = text_of(*cause, "message");
    int code = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), code).ec == std::errc{} && code != 0)
      return code;
  }
  return 1;
}

}  // namespace

std::string exec_path(const ExecTarget& target, const std::vector<std::string>& argv) {
  std::string out = "/api/v1/namespaces/" + query_escape(target.ns) + "/pods/" + query_escape(target.pod) +
                    "/exec?stdout=1&stderr=1";
  if (!target.container.empty()) out += "&container=" + query_escape(target.container);
  for (const auto& argument : argv) out += "&command=" + query_escape(argument);
  return out;
}

Result<> ExecFrames::feed(std::string_view frame, std::string_view& out) {
  out = {};
  if (frame.empty()) return {};
  const char channel = frame.front();
  const auto bytes = frame.substr(1);
  switch (channel) {
    case standard_output:
      out = bytes;
      return {};
    case standard_error_channel:
      error_ += bytes.substr(0, error_limit - error_.size());
      return {};
    case status_channel:
      return bytes.empty() ? Result<>() : take_end(bytes);
    default:
      return make_error(Errc::protocol, "exec: a frame of channel " + std::to_string(int{channel}));
  }
}

Result<> ExecFrames::take_end(std::string_view status) {
  boost::system::error_code malformed;
  const auto value = json::parse({status.data(), status.size()}, malformed);
  if (malformed || !value.is_object()) return make_error(Errc::protocol, "exec: its status is not a Status");
  const auto& object = value.get_object();
  ended_ = true;
  if (text_of(object, "status") == "Success") return {};
  end_.exit_code = exit_code_of(object);
  end_.why = text_of(object, "message");
  return {};
}

}  // namespace heddle::tools
