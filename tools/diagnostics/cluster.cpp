// SPDX-License-Identifier: Apache-2.0
// Objects, Events and logs of a cluster.
#include <algorithm>
#include <functional>
#include <set>

#include "tools/cluster/exec.h"
#include "tools/diagnostics/collect.h"
#include "tools/diagnostics/reduce.h"
#include "tools/http/query.h"
#include "tools/output/error_text.h"
#include "tools/output/json.h"
#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using Reduce = std::function<json::object(const json::object&)>;

constexpr std::size_t most_objects = 20'000;  // of one list
constexpr std::size_t most_namespaces = 500;
constexpr std::string_view ours = "labelSelector=app.kubernetes.io%2Fname%3Dheddle";

// Who asks, and where the answers go.
class Collector {
 public:
  Collector(Bundle& out, Cluster& cluster, const DiagnosticsFlags& flags)
      : out_(out),
        cluster_(cluster),
        control_namespace_(flags.scope.cluster.control_namespace),
        since_(flags.since),
        newest_(time_text(std::time(nullptr) - flags.since.count())) {}

  void version();
  void nodes();
  void installation();
  // Namespaces whose pods are asked to be meshed, by an annotation of their own.
  std::set<std::string> namespaces();
  void application(const std::string& ns);
  void events(const std::string& ns, const std::string& file, const std::string& selector = {});
  // Logs of heddle's pods, metrics of heddle-control, and configurations of nodes' networks.
  void own_pods();

 private:
  // All pages of a list; what fails is noted. `absent_is_fine`: not every API server serves it.
  std::vector<json::object> list(const std::string& path, const std::string& query,
                                 bool absent_is_fine = false);
  void put_list(const std::string& file, const std::string& path, const std::vector<json::object>& objects,
                const Reduce& reduce);
  void logs_of(const json::object& pod);
  void log(const std::string& pod, const std::string& container, bool previous);
  void metrics_of_control(const std::string& pod);
  void network_of(const std::string& pod, const std::string& node);
  std::string own_path(const std::string& rest) const {
    return "/api/v1/namespaces/" + query_escape(control_namespace_) + "/" + rest;
  }

  Bundle& out_;
  Cluster& cluster_;
  std::string control_namespace_;
  std::chrono::seconds since_;
  std::string newest_;  // Events before it are left out
};

std::vector<json::object> Collector::list(const std::string& path, const std::string& query,
                                          bool absent_is_fine) {
  std::vector<json::object> out;
  std::string next;
  do {
    std::string target = path + "?limit=500";
    if (!query.empty()) target += "&" + query;
    if (!next.empty()) target += "&continue=" + query_escape(next);
    auto page = cluster_.get(target);
    if (!page) {
      const bool absent = page.error().code == make_error_code(Errc::not_found);
      if (!absent || !absent_is_fine) out_.missing(path, error_text(page.error()));
      return out;
    }
    if (auto* items = page->if_contains("items"); items && items->is_array()) {
      for (auto& item : items->get_array()) {
        if (item.is_object()) out.push_back(std::move(item.get_object()));
      }
    }
    next = text_at(*page, {"metadata", "continue"});
    if (out.size() >= most_objects && !next.empty()) {
      out_.missing(path, "there are more than " + std::to_string(out.size()));
      next.clear();
    }
  } while (!next.empty());
  return out;
}

void Collector::put_list(const std::string& file, const std::string& path,
                         const std::vector<json::object>& objects, const Reduce& reduce) {
  json::array items;
  for (const auto& object : objects) {
    items.push_back(reduce(object));
    const auto event_of = text_at(object, {"involvedObject", "name"});
    event_of.empty() ? out_.names().add_object(object) : out_.names().add("object", event_of);
  }
  out_.add_json(file, json::object{{"items", std::move(items)}}, "GET " + path);
}

void Collector::version() {
  auto found = cluster_.get("/version");
  found ? out_.add_json("cluster/version.json", std::move(*found), "GET /version")
        : out_.missing("/version", error_text(found.error()));
}

void Collector::nodes() {
  put_list("cluster/nodes.json", "/api/v1/nodes", list("/api/v1/nodes", ""), reduce_node);
  events("default", "cluster/node-events.json", "fieldSelector=involvedObject.kind%3DNode");
}

void Collector::installation() {
  const auto ns = "/namespaces/" + query_escape(control_namespace_) + "/";
  json::array items;
  const auto add = [&](const std::string& path, bool absent_is_fine = false) {
    for (const auto& object : list(path, std::string(ours), absent_is_fine))
      items.push_back(reduce_own(object));
  };
  for (const char* kind : {"deployments", "daemonsets", "replicasets"}) add("/apis/apps/v1" + ns + kind);
  for (const char* kind : {"pods", "services", "serviceaccounts"}) add("/api/v1" + ns + kind);
  for (const char* kind : {"roles", "rolebindings"}) add("/apis/rbac.authorization.k8s.io/v1" + ns + kind);
  for (const char* kind : {"clusterroles", "clusterrolebindings"})
    add("/apis/rbac.authorization.k8s.io/v1/" + std::string(kind));
  add("/apis/networking.k8s.io/v1" + ns + "networkpolicies");
  add("/apis/policy/v1" + ns + "poddisruptionbudgets", true);
  add("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations");
  for (const char* name : {"heddle-install", "heddle-trust-anchors"}) {
    auto found = cluster_.get("/api/v1" + ns + "configmaps/" + name);
    if (found) {
      items.push_back(reduce_own(*found));
    } else if (found.error().code != make_error_code(Errc::not_found)) {
      out_.missing("ConfigMap " + std::string(name), error_text(found.error()));
    }
  }
  out_.add_json("heddle/objects.json", json::object{{"items", std::move(items)}},
                "GET, of heddle's labels and names");
  events(control_namespace_, "heddle/events.json");
}

std::set<std::string> Collector::namespaces() {
  const auto all = list("/api/v1/namespaces", "");
  put_list("cluster/namespaces.json", "/api/v1/namespaces", all, reduce_namespace);
  std::set<std::string> out;
  for (const auto& object : all) {
    const auto inject = text_at(object, {"metadata", "annotations", "linkerd.io/inject"});
    if (inject == "enabled" || inject == "ingress") out.insert(text_at(object, {"metadata", "name"}));
  }
  return out;
}

void Collector::events(const std::string& ns, const std::string& file, const std::string& selector) {
  const auto path = "/api/v1/namespaces/" + query_escape(ns) + "/events";
  auto found = list(path, selector);
  std::erase_if(found, [&](const json::object& event) {
    const auto at = time_of_event(event);
    return !at.empty() && at < newest_;
  });
  std::ranges::sort(found, {}, time_of_event);
  put_list(file, path, found,
           [&](const json::object& event) { return reduce_event(event, control_namespace_); });
}

void Collector::application(const std::string& ns) {
  const auto core = "/api/v1/namespaces/" + query_escape(ns) + "/";
  const auto folder = "namespaces/" + ns + "/";
  const auto put = [&](const char* kind, const Reduce& reduce) {
    put_list(folder + kind + ".json", core + kind, list(core + kind, ""), reduce);
  };
  put("pods", reduce_pod);
  put("services", reduce_service);
  put("endpoints", reduce_endpoints);
  const auto slices = "/apis/discovery.k8s.io/v1/namespaces/" + query_escape(ns) + "/endpointslices";
  if (const auto found = list(slices, "", true); !found.empty())
    put_list(folder + "endpointslices.json", slices, found, reduce_endpoints);
  events(ns, folder + "events.json");
}

void Collector::log(const std::string& pod, const std::string& container, bool previous) {
  const auto target = own_path("pods/" + query_escape(pod) + "/log?container=" + query_escape(container) +
                               "&timestamps=true&tailLines=50000&limitBytes=33554432&sinceSeconds=" +
                               std::to_string(since_.count()) + (previous ? "&previous=true" : ""));
  const auto text = cluster_.get_text(target);
  const auto file = "heddle/logs/" + pod + "/" + container + (previous ? ".previous" : "") + ".log";
  text ? out_.add_text(file, *text, "log of the container", true)
       : out_.missing(file, error_text(text.error()));
}

void Collector::logs_of(const json::object& pod) {
  const auto* statuses = find_array(pod, {"status", "containerStatuses"});
  for (const auto& value : statuses ? *statuses : json::array()) {
    const auto* status = value.if_object();
    if (!status) continue;
    const auto name = text_at(*status, {"name"});
    // A container that never began has no log, and a kubelet answers so with an error.
    const bool began = !text_at(*status, {"containerID"}).empty();
    if (began) log(text_at(pod, {"metadata", "name"}), name, false);
    if (find_object(*status, {"lastState", "terminated"}))
      log(text_at(pod, {"metadata", "name"}), name, true);
  }
}

void Collector::metrics_of_control(const std::string& pod) {
  const auto text = cluster_.get_text(own_path("pods/" + query_escape(pod) + ":9990/proxy/metrics"));
  text
      ? out_.add_text("heddle/control/" + pod + "-metrics.txt", *text, "GET /metrics, through the API server")
      : out_.missing("metrics of " + pod, error_text(text.error()));
}

// Only the container that installs the plugin sees the folder.
void Collector::network_of(const std::string& pod, const std::string& node) {
  std::string said;
  const auto done = exec_in_pod(*cluster_.access(), {control_namespace_, pod, "cni"},
                                {"heddle", "diagnostics", "node", "--cni-conf-dir", "/host/cni-conf"}, {},
                                [&](std::string_view bytes) {
                                  said += bytes;
                                  return said.size() < (std::size_t{16} << 20U);
                                });
  boost::system::error_code malformed;
  const auto value = json::parse(said, malformed);
  const auto* cni = !malformed && value.is_object() ? value.get_object().if_contains("cni") : nullptr;
  if (cni) return out_.add_json("nodes/" + node + "/cni.json", *cni, "the node's network configurations");
  out_.missing("node " + node + ": network configurations",
               done ? "its container cni said: " + done->standard_error : error_text(done.error()));
}

void Collector::own_pods() {
  for (const auto& pod : list(own_path("pods"), std::string(ours))) {
    const auto name = text_at(pod, {"metadata", "name"});
    tell_progress("pod " + name);
    logs_of(pod);
    if (text_at(pod, {"status", "phase"}) != "Running") continue;
    const auto component = text_at(pod, {"metadata", "labels", "app.kubernetes.io/component"});
    if (component == "control") metrics_of_control(name);
    if (component == "agent") network_of(name, text_at(pod, {"spec", "nodeName"}));
  }
}

std::set<std::string> namespaces_of_meshed_pods(const std::vector<NodeView>& nodes) {
  std::set<std::string> out;
  for (const auto& node : nodes) {
    const auto state = node.agent_state();
    const auto* pods = state ? find_array(*state, {"pods"}) : nullptr;
    for (const auto& value : pods ? *pods : json::array()) {
      const auto* pod = value.if_object();
      if (pod && text_at(*pod, {"meshed"}) == "true") out.insert(text_at(*pod, {"namespace"}));
    }
  }
  return out;
}

}  // namespace

void collect_cluster(Bundle& out, const DiagnosticsFlags& flags, const std::vector<NodeView>& nodes) {
  auto cluster = Cluster::open(flags.scope.cluster);
  if (!cluster) return out.missing("the cluster", error_text(cluster.error()));
  Collector collector(out, *cluster, flags);
  tell_progress("heddle's objects");
  collector.version();
  collector.nodes();
  collector.installation();
  collector.own_pods();
  auto chosen = collector.namespaces();
  if (flags.namespaces.empty()) {
    chosen.merge(namespaces_of_meshed_pods(nodes));
  } else {
    chosen = std::set<std::string>(flags.namespaces.begin(), flags.namespaces.end());
  }
  chosen.erase(flags.scope.cluster.control_namespace);
  std::size_t count = 0;
  for (const auto& ns : chosen) {
    if (++count > most_namespaces) {
      out.missing("namespaces",
                  "only the first " + std::to_string(most_namespaces) + " are in it; use --namespace");
      break;
    }
    tell_progress("namespace " + ns);
    collector.application(ns);
  }
}

}  // namespace heddle::tools
