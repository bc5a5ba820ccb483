// SPDX-License-Identifier: Apache-2.0
#include "tools/diagnostics/reduce.h"

#include <algorithm>
#include <array>

#include "tools/diagnostics/scrub.h"
#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using Names = std::initializer_list<const char*>;

constexpr std::array our_annotations{std::string_view("linkerd.io/"), std::string_view("config.linkerd.io/"),
                                     std::string_view("heddle.io/"), std::string_view("config.heddle.io/"),
                                     std::string_view("container.apparmor.security.beta.kubernetes.io/")};

// Reasons of Events whose messages come from the scheduler, the runtime's network or the node, never from a
// container.
constexpr std::array told_reasons{
    "FailedCreatePodSandBox", "FailedKillPod",   "SandboxChanged", "NetworkNotReady",
    "FailedScheduling",       "Scheduled",       "Evicted",        "TaintManagerEviction",
    "NodeNotReady",           "NodeReady",       "Rebooted",       "FailedMount",
    "SuccessfulCreate",       "SuccessfulDelete"};

bool starts_with_any(std::string_view text, const auto& beginnings) {
  return std::ranges::any_of(beginnings,
                             [&](std::string_view beginning) { return text.starts_with(beginning); });
}

// The members of these names, as they are.
json::object only(const json::object& from, Names names) {
  json::object out;
  for (const char* name : names) {
    if (const auto* value = from.if_contains(name)) out[name] = *value;
  }
  return out;
}

json::object only_at(const json::object& from, const char* member, Names names) {
  const auto* object = find_object(from, {member});
  return object ? only(*object, names) : json::object();
}

template <class Reduce>
json::array each(const json::object& from, Names path, Reduce reduce) {
  json::array out;
  const auto* list = find_array(from, path);
  for (const auto& value : list ? *list : json::array()) {
    if (const auto* object = value.if_object()) out.push_back(reduce(*object));
  }
  return out;
}

json::array each_only(const json::object& from, Names path, Names names) {
  return each(from, path, [&](const json::object& member) { return only(member, names); });
}

json::object annotations_of_ours(const json::object& annotations) {
  json::object out;
  for (const auto& [key, value] : annotations) {
    if (starts_with_any(key, our_annotations)) out[key] = value;
  }
  return out;
}

json::object metadata_of(const json::object& object) {
  auto out = only_at(object, "metadata",
                     {"name", "namespace", "uid", "labels", "creationTimestamp", "deletionTimestamp",
                      "finalizers", "generation", "resourceVersion"});
  if (const auto* annotations = find_object(object, {"metadata", "annotations"}))
    out["annotations"] = annotations_of_ours(*annotations);
  if (auto owners = each_only(object, {"metadata", "ownerReferences"}, {"kind", "name", "uid"});
      !owners.empty())
    out["ownerReferences"] = std::move(owners);
  return out;
}

json::object begun(const json::object& object) {
  json::object out = only(object, {"apiVersion", "kind"});
  out["metadata"] = metadata_of(object);
  return out;
}

// Where it is asked, without headers and commands.
json::object probe_of(const json::object& probe) {
  auto out = only(probe, {"initialDelaySeconds", "periodSeconds", "timeoutSeconds", "successThreshold",
                          "failureThreshold", "tcpSocket", "grpc"});
  if (probe.contains("httpGet")) out["httpGet"] = only_at(probe, "httpGet", {"host", "port", "scheme"});
  if (probe.contains("exec")) out["exec"] = json::object();
  return out;
}

json::object container_of(const json::object& container) {
  auto out = only(container, {"name", "image", "ports", "resources", "restartPolicy"});
  for (const char* probe : {"livenessProbe", "readinessProbe", "startupProbe"}) {
    if (const auto* found = find_object(container, {probe})) out[probe] = probe_of(*found);
  }
  if (container.contains("securityContext"))
    out["securityContext"] =
        only_at(container, "securityContext",
                {"privileged", "runAsUser", "runAsGroup", "runAsNonRoot", "capabilities"});
  return out;
}

json::object container_state(const json::object& state) {
  json::object out;
  for (const char* kind : {"waiting", "running", "terminated"}) {
    if (state.contains(kind))
      out[kind] = only_at(state, kind, {"reason", "exitCode", "signal", "startedAt", "finishedAt"});
  }
  return out;
}

json::object container_status(const json::object& status) {
  auto out = only(status, {"name", "ready", "started", "restartCount", "image", "imageID", "containerID"});
  for (const char* which : {"state", "lastState"}) {
    if (const auto* state = find_object(status, {which})) out[which] = container_state(*state);
  }
  return out;
}

json::array conditions_of(const json::object& object) {
  return each_only(object, {"status", "conditions"},
                   {"type", "status", "reason", "lastTransitionTime", "lastProbeTime", "lastHeartbeatTime"});
}

// Everything below that is not ours to show, wherever it is.
void strip(json::value& value) {
  if (auto* array = value.if_array()) {
    for (auto& member : *array) strip(member);
  } else if (auto* object = value.if_object()) {
    object->erase("managedFields");
    if (auto* found = object->if_contains("annotations"); found && found->is_object())
      *found = annotations_of_ours(found->get_object());
    if (auto* found = object->if_contains("env"); found && found->is_array()) {
      for (auto& variable : found->get_array()) {
        if (variable.is_object() && variable.get_object().contains("value"))
          variable.get_object()["value"] = json::string(redacted);
      }
    }
    for (auto& [key, member] : *object) strip(member);
  }
}

json::object scrubbed(json::object object) {
  json::value value(std::move(object));
  scrub_json(value);
  return std::move(value.get_object());
}

}  // namespace

json::object reduce_pod(const json::object& pod) {
  auto out = begun(pod);
  auto spec =
      only_at(pod, "spec",
              {"nodeName", "serviceAccountName", "hostNetwork", "hostPID", "dnsPolicy", "restartPolicy",
               "priorityClassName", "runtimeClassName", "terminationGracePeriodSeconds", "readinessGates"});
  if (pod.contains("spec"))
    spec["securityContext"] =
        only_at(pod.at("spec").is_object() ? pod.at("spec").get_object() : json::object(), "securityContext",
                {"runAsUser", "runAsGroup", "runAsNonRoot", "sysctls"});
  for (const char* list : {"initContainers", "containers"}) {
    if (auto containers = each(pod, {"spec", list}, container_of); !containers.empty())
      spec[list] = std::move(containers);
  }
  auto status =
      only_at(pod, "status", {"phase", "reason", "podIP", "podIPs", "hostIP", "startTime", "qosClass"});
  status["conditions"] = conditions_of(pod);
  for (const char* list : {"initContainerStatuses", "containerStatuses"}) {
    if (auto statuses = each(pod, {"status", list}, container_status); !statuses.empty())
      status[list] = std::move(statuses);
  }
  out["spec"] = std::move(spec);
  out["status"] = std::move(status);
  return scrubbed(std::move(out));
}

json::object reduce_service(const json::object& service) {
  auto out = begun(service);
  out["spec"] = only_at(service, "spec",
                        {"type", "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "ports",
                         "selector", "externalName", "sessionAffinity", "internalTrafficPolicy",
                         "externalTrafficPolicy", "publishNotReadyAddresses", "trafficDistribution"});
  return scrubbed(std::move(out));
}

json::object reduce_endpoints(const json::object& endpoints) {
  auto out = begun(endpoints);
  for (const char* part : {"addressType", "ports"}) {
    if (const auto* value = endpoints.if_contains(part)) out[part] = *value;
  }
  if (endpoints.contains("endpoints"))
    out["endpoints"] =
        each_only(endpoints, {"endpoints"},
                  {"addresses", "conditions", "targetRef", "nodeName", "zone", "topology", "hints"});
  if (endpoints.contains("subsets"))
    out["subsets"] = each_only(endpoints, {"subsets"}, {"addresses", "notReadyAddresses", "ports"});
  return scrubbed(std::move(out));
}

json::object reduce_namespace(const json::object& name_space) {
  auto out = begun(name_space);
  out["status"] = only_at(name_space, "status", {"phase"});
  return scrubbed(std::move(out));
}

json::object reduce_node(const json::object& node) {
  auto out = begun(node);
  out["spec"] = only_at(node, "spec", {"podCIDR", "podCIDRs", "taints", "unschedulable"});
  auto status = only_at(node, "status", {"addresses", "allocatable", "capacity", "nodeInfo"});
  status["conditions"] = conditions_of(node);
  out["status"] = std::move(status);
  return scrubbed(std::move(out));
}

json::object reduce_event(const json::object& event, const std::string& own_namespace) {
  auto out = only(event, {"type", "reason", "count", "firstTimestamp", "lastTimestamp", "eventTime", "series",
                          "action", "reportingComponent", "reportingInstance", "source"});
  out["metadata"] = only_at(event, "metadata", {"name", "namespace"});
  out["involvedObject"] = only_at(event, "involvedObject", {"kind", "namespace", "name", "uid", "fieldPath"});
  const auto reason = text_at(event, {"reason"});
  const bool ours = text_at(event, {"source", "component"}).starts_with("heddle") ||
                    text_at(event, {"reportingComponent"}).starts_with("heddle") ||
                    (text_at(event, {"involvedObject", "namespace"}) == own_namespace &&
                     text_at(event, {"involvedObject", "name"}).starts_with("heddle-"));
  const bool told = ours || std::ranges::any_of(told_reasons, [&](const char* one) { return reason == one; });
  if (told) out["message"] = text_at(event, {"message"});
  return scrubbed(std::move(out));
}

std::string time_of_event(const json::object& event) {
  std::string latest;
  for (const auto& time : {text_at(event, {"series", "lastObservedTime"}), text_at(event, {"lastTimestamp"}),
                           text_at(event, {"eventTime"}), text_at(event, {"firstTimestamp"})}) {
    latest = std::max(latest, time);
  }
  return latest;
}

json::object reduce_own(const json::object& object) {
  json::value value(object);
  strip(value);
  return scrubbed(std::move(value.get_object()));
}

}  // namespace heddle::tools
