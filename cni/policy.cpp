// SPDX-License-Identifier: Apache-2.0
#include "cni/policy.h"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <algorithm>

namespace heddle::cni {
namespace {

namespace json = boost::json;

constexpr std::string_view inject_key = "linkerd.io/inject";

Error malformed(std::string what) {
  return make_error(Errc::protocol, std::move(what));
}

Result<> read_namespaces(const json::value* value, Policy& out) {
  if (value == nullptr) return {};
  if (!value->is_object()) return malformed("namespaces is no object");
  for (const auto& [name, meshed] : value->get_object()) {
    if (!meshed.is_bool()) return malformed("namespaces has something other than true and false");
    out.namespaces.emplace(std::string(name), meshed.get_bool());
  }
  return {};
}

Result<> read_excluded(const json::value* value, Policy& out) {
  if (value == nullptr) return {};
  if (!value->is_array()) return malformed("excludedNamespaces is no list");
  for (const json::value& name : value->get_array()) {
    if (!name.is_string()) return malformed("excludedNamespaces has something other than names");
    out.excluded_namespaces.emplace_back(name.get_string());
  }
  return {};
}

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// By what the pod itself says; without a value: it says nothing.
std::optional<Verdict> decide_by_annotation(const NetworkConfig& config) {
  const auto found = config.pod_annotations.find(std::string(inject_key));
  if (found == config.pod_annotations.end()) return std::nullopt;
  if (found->second == "disabled") return Verdict{true, "the pod's linkerd.io/inject is disabled"};
  if (found->second == "enabled" || found->second == "ingress") {
    return Verdict{false, "the pod's linkerd.io/inject is " + found->second};
  }
  return Verdict{false, "the pod's linkerd.io/inject is neither enabled nor disabled"};
}

// By its namespace, for a pod whose annotations are known to be silent.
Verdict decide_by_namespace(const PodName& pod, const Policy& policy) {
  const auto found = policy.namespaces.find(pod.name_space);
  if (found == policy.namespaces.end()) {
    return policy.others_may_be_meshed
               ? Verdict{false, "the agent did not know its namespace " + pod.name_space + " yet"}
               : Verdict{true, "pods that do not ask for it are not meshed on this node"};
  }
  return found->second ? Verdict{false, "its namespace " + pod.name_space + " is meshed"}
                       : Verdict{true, "neither the pod nor its namespace asks for it"};
}

}  // namespace

Result<Policy> parse_policy(std::string_view text) {
  if (text.size() > max_policy_bytes) return make_error(Errc::exhausted, "it is larger than 4 MiB");
  boost::system::error_code ec;
  const auto value = json::parse({text.data(), text.size()}, ec);
  if (ec) return malformed("it is not valid JSON: " + ec.message());
  if (!value.is_object()) return malformed("it is not a JSON object");
  const json::object& object = value.get_object();
  const json::value* version = object.if_contains("version");
  if (version == nullptr || !version->is_int64()) return malformed("it has no version");
  if (version->get_int64() != 1) {
    return make_error(Errc::unsupported,
                      "it is of version " + std::to_string(version->get_int64()) + ", not 1");
  }
  Policy out;
  const json::value* control = object.if_contains("controlNamespace");
  if (control == nullptr || !control->is_string()) return malformed("it has no controlNamespace");
  out.control_namespace = std::string(control->get_string());
  if (const json::value* others = object.if_contains("otherNamespaces")) {
    if (!others->is_bool()) return malformed("otherNamespaces is neither true nor false");
    out.others_may_be_meshed = others->get_bool();
  }
  if (auto read = read_excluded(object.if_contains("excludedNamespaces"), out); !read) return read.error();
  if (auto read = read_namespaces(object.if_contains("namespaces"), out); !read) return read.error();
  return out;
}

Verdict decide_without_agent(const PodName& pod, const NetworkConfig& config, const Result<Policy>& policy) {
  const std::string& control = policy ? policy->control_namespace : config.control_namespace;
  const auto& excluded = policy ? policy->excluded_namespaces : config.excluded_namespaces;
  if (!pod.name_space.empty()) {
    if (pod.name_space == control) return {true, "its namespace " + control + " is heddle's own"};
    if (contains(excluded, pod.name_space)) {
      return {true, "its namespace " + pod.name_space + " is excluded"};
    }
  }
  if (auto verdict = decide_by_annotation(config)) return *verdict;
  if (!config.annotations_passed) {
    return {false, "the runtime does not pass the pod's annotations, so it may be meshed"};
  }
  if (!policy) {
    return {false, "the agent has left no word on its namespace " + pod.name_space + " (" +
                       policy.error().message() + ")"};
  }
  return decide_by_namespace(pod, *policy);
}

}  // namespace heddle::cni
