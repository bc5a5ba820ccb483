// SPDX-License-Identifier: Apache-2.0
#include "tools/views/node.h"

#include "tools/http/client.h"
#include "tools/lab/client.h"
#include "tools/lab/commands.h"
#include "tools/lab/plan_pod.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

Result<std::vector<Sample>> get_metrics(const std::string& socket) {
  auto reply = http_get(socket, "/metrics");
  if (!reply) return reply.error();
  if (reply->status != 200) {
    return make_error(Errc::unavailable,
                      socket + " answered /metrics with status " + std::to_string(reply->status));
  }
  return parse_prometheus(reply->body);
}

}  // namespace

Result<json::object> get_json(const std::string& socket, const std::string& target) {
  auto reply = http_get(socket, target);
  if (!reply) return reply.error();
  boost::system::error_code malformed;
  auto value = json::parse(reply->body, malformed);
  if (reply->status != 200) {
    return make_error(Errc::unavailable, "GET " + target + " answered " + std::to_string(reply->status) +
                                             ": " + reply->body.substr(0, 300));
  }
  if (malformed || !value.is_object())
    return make_error(Errc::protocol, "GET " + target + ": no JSON object came back");
  return std::move(value.get_object());
}

Result<json::object> NodeView::agent_state() const {
  return get_json(agent_socket(), "/state");
}

Result<json::object> NodeView::proxy_state() const {
  return get_json(proxy_socket(), "/state");
}

Result<std::vector<Sample>> NodeView::proxy_metrics() const {
  return get_metrics(proxy_socket());
}

Result<std::vector<Sample>> NodeView::agent_metrics() const {
  return get_metrics(agent_socket());
}

Result<std::vector<NodeView>> nodes_in(const Scope& scope) {
  if (!scope.run_dir.empty()) return std::vector<NodeView>{{"", scope.run_dir, ""}};
  if (scope.lab.empty() && lab_names().empty()) return std::vector<NodeView>{{"", "/run/heddle", ""}};
  auto layout = find_lab(scope.lab);
  if (!layout) return layout.error();
  auto status = ask_lab(*layout, {{"op", "status"}});
  if (!status) return status.error();
  if (text_at(*status, {"mesh"}) != "true") {
    return make_error(Errc::unavailable,
                      "lab " + layout->name + " was brought up with --no-mesh: there is no heddle in it");
  }
  std::vector<NodeView> out;
  for (const auto& node : status->at("nodes").as_array()) {
    out.push_back({text_at(node.as_object(), {"name"}), text_at(node.as_object(), {"runDir"}),
                   text_at(node.as_object(), {"netns"})});
  }
  return out;
}

}  // namespace heddle::tools
