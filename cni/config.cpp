// SPDX-License-Identifier: Apache-2.0
#include "cni/config.h"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <utility>

#include "base/ip.h"
#include "cni/json_text.h"

namespace heddle::cni {
namespace {

namespace json = boost::json;

constexpr std::string_view annotations_key = "io.kubernetes.cri.pod-annotations";
constexpr std::string_view attachments_key = "cni.dev/valid-attachments";
constexpr std::size_t max_annotation_bytes = 64 * 1024;  // all of them; the agent takes messages of 128 KiB
constexpr std::size_t max_addresses = 64;
constexpr std::size_t max_name_bytes = 253;  // what the agent takes
constexpr std::size_t max_attachments = 1024;
constexpr std::size_t max_excluded = 1024;

Failure wrong(std::string_view key, std::string_view why) {
  return failure(Code::invalid_config, "'" + std::string(key) + "' in the network configuration is not valid",
                 std::string(why));
}

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

Outcome<json::object> parse_object(std::string_view text) {
  if (std::all_of(text.begin(), text.end(), is_space)) {
    return failure(
        Code::decode, "no network configuration on standard input",
        "heddle-cni is run by a container runtime; `heddle-cni --help` lists what a person can do with it");
  }
  boost::system::error_code ec;
  auto value = json::parse({text.data(), text.size()}, ec);
  if (ec) {
    return failure(Code::decode, "the network configuration is not valid JSON: " + ec.message(),
                   "check the file in the runtime's CNI folder, usually /etc/cni/net.d");
  }
  if (!value.is_object()) {
    return failure(Code::decode, "the network configuration is not a JSON object",
                   "check the file in the runtime's CNI folder, usually /etc/cni/net.d");
  }
  return std::move(value.get_object());
}

// An absent key leaves `out` as it is.
std::optional<Failure> read_string(const json::object& object, std::string_view key, std::string& out) {
  const json::value* value = object.if_contains({key.data(), key.size()});
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return wrong(key, "it must be a string");
  out.assign(value->get_string().data(), value->get_string().size());
  return std::nullopt;
}

bool valid_network_name(std::string_view name) {
  const auto word = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !name.empty() && name.size() <= max_name_bytes && word(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return word(c) || c == '_' || c == '.' || c == '-'; });
}

std::optional<Failure> read_identity(const json::object& object, NetworkConfig& out) {
  std::string version = "0.1.0";  // what the specification says a missing cniVersion means
  if (auto failed = read_string(object, "cniVersion", version)) return failed;
  const auto parsed = parse_version(version);
  if (!parsed) {
    return failure(Code::incompatible_version, "cniVersion '" + version.substr(0, 32) + "' is not supported",
                   "set cniVersion of the network configuration to 0.3.1, 0.4.0, 1.0.0 or 1.1.0");
  }
  out.version = *parsed;
  if (auto failed = read_string(object, "name", out.name)) return failed;
  if (!valid_network_name(out.name)) {
    return wrong("name",
                 "a network's name is required, has at most 253 bytes, starts with a letter or digit and "
                 "holds only those "
                 "and . _ -");
  }
  return std::nullopt;
}

std::optional<Failure> read_addresses(const json::object& prev_result, NetworkConfig& out) {
  const json::value* ips = prev_result.if_contains("ips");
  if (ips == nullptr || ips->is_null()) return std::nullopt;
  if (!ips->is_array() || ips->get_array().size() > max_addresses) {
    return wrong("prevResult.ips", "it must be a list of at most 64 addresses");
  }
  for (const json::value& ip : ips->get_array()) {
    const json::value* address = ip.is_object() ? ip.get_object().if_contains("address") : nullptr;
    if (address == nullptr || !address->is_string())
      return wrong("prevResult.ips", "each needs a string 'address'");
    const std::string_view text = address->get_string();
    const auto parsed = IpAddress::parse(text.substr(0, text.find('/')));
    if (!parsed)
      return wrong("prevResult.ips", "'" + std::string(text.substr(0, 64)) + "' is not an IP address");
    out.ips.push_back(parsed->to_string());
  }
  return std::nullopt;
}

std::optional<Failure> read_prev_result(std::string_view text, const json::object& object,
                                        NetworkConfig& out) {
  const json::value* value = object.if_contains("prevResult");
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (!value->is_object()) return wrong("prevResult", "it must be an object, the previous plugin's result");
  const auto span = member(text, document(text), "prevResult");
  if (!span) return wrong("prevResult", "its place in the text was not found");
  out.prev_result = std::string(span->of(text));
  return read_addresses(value->get_object(), out);
}

bool is_ours(std::string_view annotation) {
  const std::string_view domain = annotation.substr(0, annotation.find('/'));
  if (domain.size() == annotation.size()) return false;  // no domain at all
  for (const std::string_view own : {std::string_view("heddle.io"), std::string_view("linkerd.io")}) {
    if (domain == own) return true;
    if (domain.size() > own.size() && domain.ends_with(own) &&
        domain[domain.size() - own.size() - 1] == '.') {
      return true;
    }
  }
  return false;
}

std::optional<Failure> read_annotations(const json::object& object, NetworkConfig& out) {
  const json::value* runtime = object.if_contains("runtimeConfig");
  if (runtime == nullptr || runtime->is_null()) return std::nullopt;
  if (!runtime->is_object()) return wrong("runtimeConfig", "it must be an object");
  const json::value* annotations = runtime->get_object().if_contains(annotations_key);
  if (annotations == nullptr || annotations->is_null()) return std::nullopt;
  if (!annotations->is_object()) return wrong(annotations_key, "it must be an object of strings");
  out.annotations_passed = true;
  std::size_t bytes = 0;
  for (const auto& [key, value] : annotations->get_object()) {
    if (!is_ours(key)) continue;
    if (!value.is_string())
      return wrong(annotations_key, "annotation '" + std::string(key) + "' must be a string");
    bytes += key.size() + value.get_string().size();
    if (bytes > max_annotation_bytes) return wrong(annotations_key, "heddle's annotations exceed 64 KiB");
    out.pod_annotations.emplace(std::string(key), std::string(value.get_string()));
  }
  return std::nullopt;
}

std::optional<Failure> read_attachments(const json::object& object, NetworkConfig& out) {
  const json::value* list = object.if_contains(attachments_key);
  if (list == nullptr || list->is_null()) return std::nullopt;
  if (!list->is_array() || list->get_array().size() > max_attachments) {
    return wrong(attachments_key, "it must be a list of at most 1024 attachments");
  }
  out.valid_attachments.emplace();
  for (const json::value& entry : list->get_array()) {
    if (!entry.is_object())
      return wrong(attachments_key, "each entry is an object of containerID and ifname");
    Attachment attachment;
    if (auto failed = read_string(entry.get_object(), "containerID", attachment.container_id)) return failed;
    if (auto failed = read_string(entry.get_object(), "ifname", attachment.ifname)) return failed;
    if (attachment.container_id.empty() || attachment.container_id.size() > 1024 ||
        attachment.ifname.size() > 15) {
      return wrong(attachments_key, "each entry needs a containerID and the name of an interface");
    }
    out.valid_attachments->push_back(std::move(attachment));
  }
  return std::nullopt;
}

std::optional<Failure> read_own_keys(const json::object& object, NetworkConfig& out) {
  if (auto failed = read_string(object, "runDir", out.run_dir)) return failed;
  if (out.run_dir.empty() || out.run_dir.front() != '/' || out.run_dir.find('\0') != std::string::npos) {
    return wrong("runDir", "it must be the absolute path given to heddle-agent as --run-dir");
  }
  if (auto failed = read_string(object, "logFile", out.log_file)) return failed;
  if (!out.log_file.empty() &&
      (out.log_file.front() != '/' || out.log_file.find('\0') != std::string::npos)) {
    return wrong("logFile", "it must be an absolute path");
  }
  if (const json::value* timeout = object.if_contains("timeoutMs")) {
    boost::system::error_code ec;
    const auto ms = timeout->to_number<std::int64_t>(ec);
    if (ec || ms < 1 || ms > 120'000) return wrong("timeoutMs", "it must be a number from 1 to 120000");
    out.timeout = std::chrono::milliseconds(ms);
  }
  return std::nullopt;
}

std::optional<Failure> read_namespaces(const json::object& object, NetworkConfig& out) {
  if (auto failed = read_string(object, "controlNamespace", out.control_namespace)) return failed;
  const json::value* list = object.if_contains("excludedNamespaces");
  if (list == nullptr) return std::nullopt;
  if (!list->is_array() || list->get_array().size() > max_excluded) {
    return wrong("excludedNamespaces", "it must be a list of at most 1024 names of namespaces");
  }
  out.excluded_namespaces.clear();
  for (const json::value& name : list->get_array()) {
    if (!name.is_string()) return wrong("excludedNamespaces", "each is the name of a namespace");
    out.excluded_namespaces.emplace_back(name.get_string());
  }
  return std::nullopt;
}

}  // namespace

Outcome<NetworkConfig> parse_config(std::string_view text, Command command) {
  if (text.size() > max_config_bytes) {
    return failure(Code::decode, "the network configuration is larger than 1 MiB",
                   "no runtime sends that much");
  }
  auto object = parse_object(text);
  if (!object) return object.error();
  NetworkConfig out;
  if (auto failed = read_identity(*object, out)) return std::move(*failed);
  if (auto failed = read_own_keys(*object, out)) return std::move(*failed);
  if (command == Command::del) return out;
  if (auto failed = read_namespaces(*object, out)) return std::move(*failed);
  if (auto failed = read_prev_result(text, *object, out)) return std::move(*failed);
  if (auto failed = read_annotations(*object, out)) return std::move(*failed);
  if (auto failed = read_attachments(*object, out)) return std::move(*failed);
  return out;
}

std::string version_for_answer(std::string_view text) {
  if (text.size() > max_config_bytes) return std::string(newest_version);
  boost::system::error_code ec;
  const auto value = json::parse({text.data(), text.size()}, ec);
  if (!ec && value.is_object()) {
    std::string version;
    if (!read_string(value.get_object(), "cniVersion", version) && parse_version(version)) return version;
  }
  return std::string(newest_version);
}

}  // namespace heddle::cni
