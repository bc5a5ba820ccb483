// SPDX-License-Identifier: Apache-2.0
#include "control/injector/taint.h"

#include <algorithm>
#include <boost/json.hpp>

namespace heddle::control {
namespace {

namespace json = boost::json;

struct Seen {
  bool any = false;
  bool ready = false;
};

Seen see(const source::Snapshot& snapshot, std::string_view node, std::string_view ns,
         std::string_view daemon_set) {
  Seen out;
  for (const source::Pod* pod : snapshot.pods_on(node)) {
    const bool ours = pod->meta.ns == ns && !pod->meta.deleting && !pod->finished() &&
                      std::ranges::any_of(pod->meta.owners, [&](const source::OwnerReference& owner) {
                        return owner.controller && owner.kind == "DaemonSet" && owner.name == daemon_set;
                      });
    if (!ours) continue;
    out.any = true;
    out.ready = out.ready || pod->ready;
  }
  return out;
}

}  // namespace

std::vector<std::string> nodes_to_free(const source::Snapshot& snapshot, std::string_view control_namespace) {
  std::vector<std::string> out;
  for (const auto& node : snapshot.objects().nodes) {
    if (!node->startup_tainted) continue;
    const std::string& name = node->meta.name;
    if (!see(snapshot, name, control_namespace, "heddle-agent").ready) continue;
    const Seen proxy = see(snapshot, name, control_namespace, "heddle-proxy");
    if (!proxy.any || proxy.ready) out.push_back(name);
  }
  return out;
}

Result<std::optional<std::string>> untaint_patch(std::string_view node_json) {
  boost::system::error_code error;
  const auto node = json::parse(json::string_view(node_json.data(), node_json.size()), error);
  if (error) return Error{error, "the Node is not JSON"};
  const json::value* taints = node.find_pointer("/spec/taints", error);
  if (taints == nullptr || !taints->is_array()) return std::optional<std::string>();
  const json::array& list = taints->get_array();
  json::array patch;
  // From the back, so that what was removed moves nothing that is still to be removed.
  for (std::size_t i = list.size(); i-- > 0;) {
    boost::system::error_code none;
    const json::value* key = list[i].find_pointer("/key", none);
    if (key == nullptr || !key->is_string() || key->get_string() != source::startup_taint) continue;
    const std::string path = "/spec/taints/" + std::to_string(i);
    patch.push_back({{"op", "test"}, {"path", path}, {"value", list[i]}});
    patch.push_back({{"op", "remove"}, {"path", path}});
  }
  if (patch.empty()) return std::optional<std::string>();
  return std::optional<std::string>(json::serialize(patch));
}

}  // namespace heddle::control
