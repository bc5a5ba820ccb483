// SPDX-License-Identifier: Apache-2.0
#include "tools/deploy/values.h"

#include <charconv>
#include <regex>

#include "base/ip.h"
#include "tools/deploy/chart_files.h"
#include "tools/lab/yaml.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

constexpr std::string_view platforms = "platforms/";
constexpr std::string_view yaml_suffix = ".yaml";

std::string_view chart_text(std::string_view path) {
  for (const auto& file : chart_files()) {
    if (file.path == path) return file.text;
  }
  return {};
}

Error wrong(const std::string& path, const std::string& what) {
  return make_error(Errc::invalid_argument, "value " + path + ": " + what);
}

std::string text_of(const json::value& value) {
  return value.is_string() ? std::string(value.get_string()) : json::serialize(value);
}

bool has_type(const json::value& value, std::string_view type) {
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_bool();
  if (type == "integer") return value.is_int64();
  if (type == "array") return value.is_array();
  return value.is_object();
}

Result<> check_limits(const json::value& value, const json::object& schema, const std::string& path) {
  if (const auto* choices = schema.if_contains("enum")) {
    std::string words;
    for (const auto& choice : choices->as_array()) {
      if (choice == value) return {};
      words += (words.empty() ? "" : ", ") + text_of(choice);
    }
    return wrong(path, "'" + text_of(value) + "' is none of " + words);
  }
  if (const auto* least = schema.if_contains("minimum"); least && value.as_int64() < least->as_int64())
    return wrong(path, text_of(value) + " is less than " + text_of(*least));
  if (const auto* most = schema.if_contains("maximum"); most && value.as_int64() > most->as_int64())
    return wrong(path, text_of(value) + " is more than " + text_of(*most));
  if (const auto* most = schema.if_contains("maxLength");
      most && static_cast<std::int64_t>(value.as_string().size()) > most->as_int64())
    return wrong(path, "is longer than " + text_of(*most) + " characters");
  if (const auto* pattern = schema.if_contains("pattern")) {
    const std::regex form(std::string(pattern->as_string()), std::regex::ECMAScript);
    // Longer texts would make the matcher's recursion deep.
    if (value.as_string().size() > 1024) return wrong(path, "is longer than 1024 characters");
    if (!std::regex_match(std::string(value.as_string()), form))
      return wrong(path, "'" + text_of(value) + "' is not " + text_of(schema.at("description")) +
                             " (it must match " + text_of(*pattern) + ")");
  }
  return {};
}

Result<> check_value(const json::value& value, const json::object& schema, const std::string& path) {
  const std::string_view type = schema.at("type").as_string();
  if (!has_type(value, type))
    return wrong(path, "must be of type " + std::string(type) + ", not " + json::serialize(value));
  if (auto ok = check_limits(value, schema, path); !ok) return ok;
  if (const auto* items = schema.if_contains("items")) {
    for (const auto& item : value.as_array()) {
      if (auto ok = check_value(item, items->as_object(), path + "[]"); !ok) return ok;
    }
  }
  const auto* properties = schema.if_contains("properties");
  if (properties == nullptr) return {};
  for (const auto& [key, child] : value.as_object()) {
    const std::string below = path.empty() ? std::string(key) : path + "." + std::string(key);
    const auto* known = properties->as_object().if_contains(key);
    if (known == nullptr)
      return wrong(below,
                   "there is no such value; `heddle render --values-only` prints those that there are");
    if (auto ok = check_value(child, known->as_object(), below); !ok) return ok;
  }
  for (const auto& [key, known] : properties->as_object()) {
    if (!value.as_object().contains(key))
      return wrong(path.empty() ? std::string(key) : path + "." + std::string(key), "is missing");
  }
  return {};
}

// "1.20", "v1.20.2", "1.29+": the minor version of major 1.
Result<int> minor_version(std::string_view text) {
  const std::string whole(text);
  if (text.starts_with('v')) text.remove_prefix(1);
  int minor = 0;
  if (text.starts_with("1.")) {
    const char* end = text.data() + text.size();
    const auto parsed = std::from_chars(text.data() + 2, end, minor);
    if (parsed.ec == std::errc{} && (parsed.ptr == end || *parsed.ptr == '.' || *parsed.ptr == '+'))
      return minor;
  }
  return make_error(Errc::invalid_argument, "--kubernetes-version " + whole + ": use 1.MINOR, like 1.29");
}

}  // namespace

Result<json::object> read_values(std::string_view text, const std::string& origin) {
  return parse_map(text, origin);
}

Result<json::object> default_values() {
  return read_values(chart_text("values.yaml"), "values.yaml");
}

std::vector<std::string> platform_names() {
  std::vector<std::string> out;
  for (const auto& file : chart_files()) {
    if (!file.path.starts_with(platforms)) continue;
    out.emplace_back(
        file.path.substr(platforms.size(), file.path.size() - platforms.size() - yaml_suffix.size()));
  }
  return out;
}

Result<json::object> platform_values(const std::string& name) {
  const std::string path = std::string(platforms) + name + std::string(yaml_suffix);
  if (const auto text = chart_text(path); !text.empty()) return read_values(text, path);
  std::string words;
  for (const auto& known : platform_names()) words += (words.empty() ? "" : ", ") + known;
  return make_error(Errc::not_found, "--platform " + name + ": use one of " + words);
}

Result<json::object> version_values(const std::string& kubernetes_version) {
  const auto minor = minor_version(kubernetes_version);
  if (!minor) return minor.error();
  json::object out;
  if (*minor < 20)
    return make_error(Errc::unsupported,
                      "Kubernetes " + kubernetes_version + ": 1.20 is the oldest that is supported");
  if (*minor < 21) set_path(out, "control.podDisruptionBudgetVersion", "policy/v1beta1");
  if (*minor < 22) {
    set_path(out, "proxy.maxSurge", 0);
    set_path(out, "proxy.maxUnavailable", 1);
    set_path(out, "proxy.shutdownGraceSeconds", 10);
    set_path(out, "proxy.terminationGracePeriodSeconds", 70);
  }
  return out;
}

void lay_over(json::object& below, const json::object& above) {
  for (const auto& [key, value] : above) {
    auto* there = below.if_contains(key);
    if (value.is_null()) {
      if (there) below.erase(key);
    } else if (there && there->is_object() && value.is_object()) {
      lay_over(there->get_object(), value.get_object());
    } else {
      below[key] = value;
    }
  }
}

void set_path(json::object& values, std::string_view path, json::value value) {
  const auto dot = path.find('.');
  if (dot == std::string_view::npos) {
    values[path] = std::move(value);
    return;
  }
  auto& child = values[path.substr(0, dot)];
  if (!child.is_object()) child.emplace_object();
  set_path(child.get_object(), path.substr(dot + 1), std::move(value));
}

Result<> set_value(json::object& values, const std::string& assignment) {
  const auto equals = assignment.find('=');
  const std::string path = assignment.substr(0, equals);
  if (equals == std::string::npos || path.empty() || path.front() == '.' || path.back() == '.' ||
      path.find("..") != std::string::npos) {
    return make_error(Errc::invalid_argument,
                      "--set " + assignment + ": use KEY=VALUE, like control.replicas=3");
  }
  auto parsed = read_values("value: " + assignment.substr(equals + 1), "--set " + path);
  if (!parsed) return parsed.error();
  auto value = parsed->at("value");
  // `--set controlHost=` empties a text; null would take the value away.
  set_path(values, path, value.is_null() ? json::value("") : std::move(value));
  return {};
}

void bracket_control_host(json::object& values) {
  auto* host = values.if_contains("controlHost");
  if (!host || !host->is_string()) return;
  const std::string text = text_of(*host);
  const auto ip = IpAddress::parse(text);
  if (ip && text.find(':') != std::string::npos) *host = "[" + text + "]";
}

Result<> check_values(const json::object& values) {
  static const json::value schema = json::parse(json::string_view(chart_text("values.schema.json")));
  if (auto ok = check_value(values, schema.as_object(), ""); !ok) return ok;
  const auto& proxy = values.at("proxy").as_object();
  const auto grace = proxy.at("shutdownGraceSeconds").as_int64();
  const auto limit = proxy.at("terminationGracePeriodSeconds").as_int64();
  if (limit <= grace)
    return wrong("proxy.terminationGracePeriodSeconds",
                 std::to_string(limit) + " must be more than proxy.shutdownGraceSeconds, " +
                     std::to_string(grace) + ", or connections are cut");
  if (proxy.at("maxSurge").as_int64() == 0 && proxy.at("maxUnavailable").as_int64() == 0)
    return wrong("proxy.maxUnavailable", "0 together with proxy.maxSurge 0 would never replace a proxy");
  return {};
}

}  // namespace heddle::tools
