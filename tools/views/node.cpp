// SPDX-License-Identifier: Apache-2.0
#include "tools/views/node.h"

#include <unistd.h>

#include "tools/lab/client.h"
#include "tools/lab/commands.h"
#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

constexpr const char* default_run_dir = "/run/heddle";

NodeView local(const std::string& name, const std::string& run_dir, const std::string& netns) {
  return {name, run_dir, netns, link_to_sockets(run_dir), {}};
}

Result<std::vector<Sample>> metrics_of(const NodeView& node, AdminOf program) {
  if (!node.trouble.empty()) return make_error(Errc::unavailable, node.trouble);
  auto body = node.link->get(program, "/metrics");
  if (!body) return body.error();
  return parse_prometheus(*body);
}

Result<std::vector<NodeView>> nodes_of_lab(const std::string& name) {
  auto layout = find_lab(name);
  if (!layout) return layout.error();
  auto status = ask_lab(*layout, {{"op", "status"}});
  if (!status) return status.error();
  if (text_at(*status, {"mesh"}) != "true") {
    return make_error(Errc::unavailable,
                      "lab " + layout->name + " was brought up with --no-mesh: there is no heddle in it");
  }
  std::vector<NodeView> out;
  for (const auto& node : status->at("nodes").as_array()) {
    out.push_back(local(text_at(node.as_object(), {"name"}), text_at(node.as_object(), {"runDir"}),
                        text_at(node.as_object(), {"netns"})));
  }
  return out;
}

Result<std::vector<NodeView>> nodes_of_cluster(const ClusterFlags& flags) {
  auto cluster = Cluster::open(flags);
  if (!cluster) return cluster.error();
  auto agents = cluster->agents();
  if (!agents) return agents.error();
  std::vector<NodeView> out;
  for (const auto& agent : *agents) {
    out.push_back({agent.node, {}, {}, link_to_pod(cluster->access(), agent.pod), agent.trouble});
  }
  return out;
}

bool runs_here() {
  return ::access((std::string(default_run_dir) + "/agent/admin.sock").c_str(), F_OK) == 0;
}

}  // namespace

Result<json::object> NodeView::get_json(AdminOf program, const std::string& target) const {
  if (!trouble.empty()) return make_error(Errc::unavailable, trouble);
  auto body = link->get(program, target);
  if (!body) return body.error();
  boost::system::error_code malformed;
  auto value = json::parse(*body, malformed);
  if (malformed || !value.is_object())
    return make_error(Errc::protocol, "GET " + target + ": no JSON object came back");
  return std::move(value.get_object());
}

Result<json::object> NodeView::agent_state() const {
  return get_json(AdminOf::agent, "/state");
}

Result<json::object> NodeView::proxy_state() const {
  return get_json(AdminOf::proxy, "/state");
}

Result<std::vector<Sample>> NodeView::proxy_metrics() const {
  return metrics_of(*this, AdminOf::proxy);
}

Result<std::vector<Sample>> NodeView::agent_metrics() const {
  return metrics_of(*this, AdminOf::agent);
}

bool is_cluster(const Scope& scope) {
  if (!scope.run_dir.empty() || !scope.lab.empty()) return false;
  if (scope.names_cluster()) return true;
  return lab_names().empty() && !runs_here() && kubeconfig_found();
}

Result<std::vector<NodeView>> nodes_in(const Scope& scope) {
  if (!scope.run_dir.empty()) return std::vector<NodeView>{local("", scope.run_dir, "")};
  if (is_cluster(scope)) return nodes_of_cluster(scope.cluster);
  if (scope.lab.empty() && lab_names().empty()) return std::vector<NodeView>{local("", default_run_dir, "")};
  return nodes_of_lab(scope.lab);
}

}  // namespace heddle::tools
