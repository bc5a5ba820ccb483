// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/exec_credential.h"

#include <algorithm>
#include <charconv>

#include "control/source/reader.h"

namespace heddle::source::kubernetes {
namespace {

constexpr std::size_t output_limit = 1024 * 1024;

Error refuse(const std::string& why) {
  return make_error(Errc::invalid_argument, why);
}

// Two or four digits at `at`; -1 if they are none.
int digits(std::string_view text, std::size_t at, std::size_t count) {
  int out = -1;
  if (text.size() < at + count) return -1;
  const char* const end = text.data() + at + count;
  const auto [stop, error] = std::from_chars(text.data() + at, end, out);
  return error == std::errc() && stop == end && out >= 0 ? out : -1;
}

// What follows the seconds: a fraction, then Z or an offset in hours and minutes.
std::optional<std::chrono::minutes> offset_of(std::string_view rest) {
  if (rest.starts_with('.')) {
    const auto end = std::min(rest.find_first_not_of("0123456789", 1), rest.size());
    if (end == 1) return std::nullopt;
    rest.remove_prefix(end);
  }
  if (rest == "Z" || rest == "z") return std::chrono::minutes(0);
  if (rest.size() != 6 || (rest[0] != '+' && rest[0] != '-') || rest[3] != ':') return std::nullopt;
  const int hours = digits(rest, 1, 2);
  const int minutes = digits(rest, 4, 2);
  if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59) return std::nullopt;
  return std::chrono::minutes((rest[0] == '-' ? -1 : 1) * (hours * 60 + minutes));
}

}  // namespace

std::optional<std::chrono::system_clock::time_point> parse_time(std::string_view text) {
  using namespace std::chrono;
  // 2006-01-02T15:04:05Z
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != 't')) return {};
  if (text[13] != ':' || text[16] != ':') return {};
  const int hour = digits(text, 11, 2);
  const int minute = digits(text, 14, 2);
  const int second = digits(text, 17, 2);
  const int y = digits(text, 0, 4);
  const int m = digits(text, 5, 2);
  const int d = digits(text, 8, 2);
  const auto offset = offset_of(text.substr(19));
  if (y < 0 || m < 0 || d < 0 || !offset) return {};
  const year_month_day date{year(y), month(static_cast<unsigned>(m)), day(static_cast<unsigned>(d))};
  if (!date.ok() || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60)
    return {};
  // In seconds: the clock's own unit does not reach every year that can be written.
  const auto at = sys_seconds(sys_days(date)) + hours(hour) + minutes(minute) + seconds(second) - *offset;
  constexpr auto least = ceil<seconds>(system_clock::time_point::min());
  constexpr auto most = floor<seconds>(system_clock::time_point::max());
  return std::clamp<sys_seconds>(at, least, most);
}

Result<ExecPlugin> exec_plugin_of(const Value& exec, const std::string& folder) {
  ExecPlugin out;
  Reader in;
  out.api_version = in.text(&exec, "apiVersion");
  out.command = in.text(&exec, "command");
  in.each_in(&exec, "args", [&](const Value& argument) {
    if (argument.kind != Value::Kind::scalar) in.fail(argument, "args: an argument is not a text");
    out.arguments.push_back(argument.scalar);
  });
  in.each_in(&exec, "env", [&](const Value& variable) {
    const std::string name = in.text(&variable, "name");
    if (name.empty()) in.fail(variable, "env: a variable has no name");
    out.environment.emplace_back(name, in.text(&variable, "value"));
  });
  out.install_hint = in.text(&exec, "installHint");
  out.wants_cluster = in.flag(&exec, "provideClusterInfo", false);
  const std::string interactive = in.text(&exec, "interactiveMode");
  if (auto read = in.result(); !read) return refuse("exec: " + read.error().detail);
  if (out.command.empty()) return refuse("exec: names no command");
  if (out.api_version != "client.authentication.k8s.io/v1" &&
      out.api_version != "client.authentication.k8s.io/v1beta1") {
    return make_error(Errc::unsupported, "exec: apiVersion '" + out.api_version +
                                             "' is not supported, only client.authentication.k8s.io/v1 and "
                                             "v1beta1: renew the kubeconfig with the cluster's tool");
  }
  if (interactive == "Always") {
    return make_error(Errc::unsupported, "exec: '" + out.command +
                                             "' must ask a person (interactiveMode: Always), and nobody is "
                                             "asked here: use a token or a client certificate");
  }
  if (!interactive.empty() && interactive != "Never" && interactive != "IfAvailable") {
    return refuse("exec: interactiveMode '" + interactive + "' is none");
  }
  const bool relative = !out.command.starts_with('/') && out.command.find('/') != std::string::npos;
  if (relative && !folder.empty()) out.command = folder + "/" + out.command;
  return out;
}

Result<ExecCredential> parse_exec_credential(std::string_view output, const std::string& api_version) {
  Limits limits;
  limits.bytes = output_limit;
  limits.nodes = 10'000;
  const auto values = read_json(output, limits);
  if (!values || values->size() != 1) return refuse("what it wrote is not one JSON object");
  const Value& document = values->front();
  Reader in;
  const std::string kind = in.text(&document, "kind");
  const std::string version = in.text(&document, "apiVersion");
  const Value* status = in.map(&document, "status");
  ExecCredential out;
  out.token = in.text(status, "token");
  out.certificate = in.text(status, "clientCertificateData");
  out.key = in.text(status, "clientKeyData");
  const std::string expires = in.text(status, "expirationTimestamp");
  if (!in.result() || kind != "ExecCredential") return refuse("what it wrote is not an ExecCredential");
  if (version != api_version) {
    return refuse("it answered with apiVersion '" + version.substr(0, 100) + "', the kubeconfig says " +
                  api_version);
  }
  if (out.certificate.empty() != out.key.empty()) {
    return refuse("clientCertificateData and clientKeyData belong together, one of them is missing");
  }
  if (out.token.empty() && out.certificate.empty())
    return refuse("it gave neither a token nor a certificate");
  const bool plain = std::ranges::all_of(out.token, [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (!plain) return refuse("its token contains blanks or control characters");
  if (expires.empty()) return out;
  out.expires = parse_time(expires);
  if (!out.expires) return refuse("its expirationTimestamp is not a time of RFC 3339");
  return out;
}

}  // namespace heddle::source::kubernetes
