// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdio>

#include "tools/check/checks.h"
#include "tools/check/codes.h"
#include "tools/http/query.h"
#include "tools/output/error_text.h"
#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

constexpr std::string_view startup_taint = "heddle.io/agent-not-ready";

bool absent(const Error& error) {
  return error.code == make_error_code(Errc::not_found);
}

const json::array& items_of(const json::object& list) {
  static const json::array none;
  const auto* items = find_array(list, {"items"});
  return items ? *items : none;
}

bool check_api_server(Verdicts& out, Cluster& cluster) {
  const auto version = cluster.get("/version");
  out.judge(static_cast<bool>(version), check_code::api_server, "API server",
            version ? cluster.access()->host + ", Kubernetes " + text_at(*version, {"gitVersion"}) : "",
            version ? "" : error_text(version.error()));
  return static_cast<bool>(version);
}

struct Right {
  const char* verb;
  const char* group;
  const char* resource;
  bool in_namespace;
};

// What `heddle install | kubectl apply -f -` does.
constexpr std::array rights{
    Right{"create", "", "namespaces", false},
    Right{"create", "", "serviceaccounts", true},
    Right{"create", "", "configmaps", true},
    Right{"create", "", "services", true},
    Right{"create", "apps", "deployments", true},
    Right{"create", "apps", "daemonsets", true},
    Right{"create", "rbac.authorization.k8s.io", "clusterroles", false},
    Right{"create", "rbac.authorization.k8s.io", "clusterrolebindings", false},
    Right{"create", "rbac.authorization.k8s.io", "roles", true},
    Right{"create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations", false}};

Result<bool> allowed(Cluster& cluster, const Right& right) {
  json::object attributes{{"verb", right.verb}, {"group", right.group}, {"resource", right.resource}};
  if (right.in_namespace) attributes["namespace"] = cluster.flags().control_namespace;
  const json::object review{{"apiVersion", "authorization.k8s.io/v1"},
                            {"kind", "SelfSubjectAccessReview"},
                            {"spec", json::object{{"resourceAttributes", std::move(attributes)}}}};
  const auto answer = cluster.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review);
  if (!answer) return answer.error();
  return text_at(*answer, {"status", "allowed"}) == "true";
}

void check_rights(Verdicts& out, Cluster& cluster) {
  std::string missing;
  for (const auto& right : rights) {
    const auto may = allowed(cluster, right);
    if (!may) return out.fail(check_code::rights, "rights", error_text(may.error()));
    if (!*may) missing += (missing.empty() ? "" : ", ") + std::string(right.verb) + " " + right.resource;
  }
  out.judge(missing.empty(), check_code::rights, "rights", "to create all that is installed",
            "you may not " + missing);
}

// "5.15.0-91-generic" is before 5.18.
bool is_before(const std::string& kernel, unsigned major, unsigned minor) {
  unsigned a = 0;
  unsigned b = 0;
  if (std::sscanf(kernel.c_str(), "%u.%u", &a, &b) != 2) return false;
  return a < major || (a == major && b < minor);
}

void check_node_kinds(Verdicts& out, Cluster& cluster) {
  const auto nodes = cluster.get("/api/v1/nodes");
  if (!nodes) return out.fail(check_code::nodes, "nodes", error_text(nodes.error()));
  std::size_t linux_nodes = 0;
  for (const auto& value : items_of(*nodes)) {
    const auto* node = value.if_object();
    if (!node) continue;
    const auto name = "node " + text_at(*node, {"metadata", "name"});
    if (const auto os = text_at(*node, {"status", "nodeInfo", "operatingSystem"}); os != "linux") {
      out.warn(check_code::nodes, name, "runs " + os + ": its pods are not meshed");
      continue;
    }
    ++linux_nodes;
    const auto kernel = text_at(*node, {"status", "nodeInfo", "kernelVersion"});
    if (is_before(kernel, 5, 18)) {
      out.warn(check_code::nodes, name, "kernel " + kernel + ": iptables rules will be used instead of eBPF");
    }
  }
  out.judge(linux_nodes > 0, check_code::nodes, "nodes", std::to_string(linux_nodes) + " with Linux",
            "there is no Linux node");
}

void check_neighbours(Verdicts& out, Cluster& cluster) {
  const auto sets = cluster.get("/apis/apps/v1/daemonsets");
  if (!sets) return out.warn(check_code::other_mesh, "other meshes", error_text(sets.error()));
  constexpr std::array<std::string_view, 5> meshes{"linkerd-cni", "istio-cni-node", "ztunnel", "kmesh",
                                                   "osm-init"};
  std::string found;
  bool cilium = false;
  for (const auto& value : items_of(*sets)) {
    const auto* set = value.if_object();
    if (!set) continue;
    const auto name = text_at(*set, {"metadata", "name"});
    cilium = cilium || name == "cilium";
    if (std::ranges::find(meshes, name) != meshes.end()) {
      found += (found.empty() ? "" : ", ") + namespace_of(*set) + "/" + name;
    }
  }
  if (found.empty()) {
    out.ok(check_code::other_mesh, "other meshes", "none on the nodes");
  } else {
    out.warn(check_code::other_mesh, "other meshes", found + " runs on the nodes");
  }
  if (!cilium) return;
  const auto config = cluster.get("/api/v1/namespaces/kube-system/configmaps/cilium-config");
  const bool shared = config && text_at(*config, {"data", "cni-exclusive"}) == "false";
  if (shared) {
    out.ok(check_code::cilium, "Cilium", "leaves other plugins in its configuration");
  } else {
    out.warn(check_code::cilium, "Cilium",
             "takes other plugins out of its configuration (cni-exclusive is not false)");
  }
}

void check_control(Verdicts& out, Cluster& cluster) {
  const auto& ns = cluster.flags().control_namespace;
  const auto found =
      cluster.get("/apis/apps/v1/namespaces/" + query_escape(ns) + "/deployments/heddle-control");
  if (!found) return out.fail(check_code::control, "control plane", error_text(found.error()));
  const auto wanted = text_at(*found, {"spec", "replicas"});
  auto available = text_at(*found, {"status", "availableReplicas"});
  if (available.empty()) available = "0";
  const auto text = available + " of " + wanted + " replicas available";
  if (available == "0") {
    out.fail(check_code::control, "control plane", text);
  } else if (available != wanted) {
    out.warn(check_code::control, "control plane", text);
  } else {
    out.ok(check_code::control, "control plane", text);
  }
}

void check_daemon_set(Verdicts& out, Cluster& cluster, std::string_view code, const std::string& name) {
  const auto& ns = cluster.flags().control_namespace;
  const auto found = cluster.get("/apis/apps/v1/namespaces/" + query_escape(ns) + "/daemonsets/" + name);
  if (!found) return out.fail(code, name, error_text(found.error()));
  const auto number = [&](const char* field) {
    const auto text = text_at(*found, {"status", field});
    return text.empty() ? std::string("0") : text;
  };
  const auto wanted = number("desiredNumberScheduled");
  const auto ready = number("numberReady");
  const auto updated = number("updatedNumberScheduled");
  out.judge(ready == wanted && wanted != "0", code, name, "ready on " + ready + " nodes",
            "ready on " + ready + " of " + wanted + " nodes");
  if (updated != wanted) {
    out.warn(code, name, "an upgrade is under way: " + updated + " of " + wanted + " have the new version");
  }
}

void check_webhook(Verdicts& out, Cluster& cluster) {
  const auto found =
      cluster.get("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/heddle-injector");
  if (!found) {
    const auto text = absent(found.error()) ? "it is not registered" : error_text(found.error());
    return out.warn(check_code::webhook, "injector", text);
  }
  const auto* hooks = find_array(*found, {"webhooks"});
  bool trusted = hooks && !hooks->empty();
  for (const auto& value : hooks ? *hooks : json::array()) {
    const auto* hook = value.if_object();
    trusted = trusted && hook && !text_at(*hook, {"clientConfig", "caBundle"}).empty();
  }
  if (trusted) {
    out.ok(check_code::webhook, "injector", "registered");
  } else {
    out.warn(check_code::webhook, "injector", "registered without a caBundle: the API server cannot ask it");
  }
}

void check_taints(Verdicts& out, Cluster& cluster) {
  const auto nodes = cluster.get("/api/v1/nodes");
  if (!nodes) return out.warn(check_code::taint, "startup taint", error_text(nodes.error()));
  std::string tainted;
  for (const auto& value : items_of(*nodes)) {
    const auto* node = value.if_object();
    const auto* taints = node ? find_array(*node, {"spec", "taints"}) : nullptr;
    for (const auto& taint : taints ? *taints : json::array()) {
      if (!taint.is_object() || text_at(taint.get_object(), {"key"}) != startup_taint) continue;
      tainted += (tainted.empty() ? "" : ", ") + text_at(*node, {"metadata", "name"});
    }
  }
  if (tainted.empty()) {
    out.ok(check_code::taint, "startup taint", "on no node");
  } else {
    out.warn(check_code::taint, "startup taint", "still on " + tainted);
  }
}

}  // namespace

void check_cluster_before(Verdicts& out, Cluster& cluster) {
  if (!check_api_server(out, cluster)) return;
  check_rights(out, cluster);
  check_node_kinds(out, cluster);
  check_neighbours(out, cluster);
}

void check_installation(Verdicts& out, Cluster& cluster) {
  if (!check_api_server(out, cluster)) return;
  check_control(out, cluster);
  check_daemon_set(out, cluster, check_code::agents, "heddle-agent");
  check_daemon_set(out, cluster, check_code::proxies, "heddle-proxy");
  check_webhook(out, cluster);
  check_taints(out, cluster);
}

}  // namespace heddle::tools
