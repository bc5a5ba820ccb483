// SPDX-License-Identifier: Apache-2.0
#include "control/discovery/topology.h"

#include <algorithm>
#include <set>

namespace heddle::control {

using source::Service;
using source::Snapshot;

namespace {

std::vector<Candidate> ready_endpoints(const Snapshot& snapshot, const ServiceTarget& target) {
  std::vector<Candidate> out;
  for (const source::EndpointSlice* slice : snapshot.slices_of(target.ns, target.service)) {
    for (const source::Endpoint& endpoint : slice->endpoints) {
      if (!endpoint.ready || endpoint.addresses.empty()) continue;
      if (!target.instance.empty() && endpoint.hostname != target.instance &&
          endpoint.pod != target.instance) {
        continue;
      }
      out.push_back({slice, &endpoint});
    }
  }
  return out;
}

// A dual-stack service has a slice per family that name the same pods: the service's first family is used,
// the other only for pods that lack it.
void keep_one_family(const Service& service, std::vector<Candidate>& candidates) {
  const bool prefer_v4 = service.cluster_ips.empty() || service.cluster_ips.front().is_v4();
  const auto preferred = [prefer_v4](const Candidate& c) {
    return c.endpoint->addresses.front().is_v4() == prefer_v4;
  };
  std::set<std::string_view> pods;
  for (const Candidate& candidate : candidates) {
    if (preferred(candidate)) pods.insert(candidate.endpoint->pod);
  }
  std::erase_if(candidates, [&](const Candidate& candidate) {
    return !preferred(candidate) && !candidate.endpoint->pod.empty() &&
           pods.contains(candidate.endpoint->pod);
  });
}

void keep_hinted_zone(const std::string& zone, std::vector<Candidate>& candidates) {
  if (zone.empty()) return;
  const auto has_hints = [](const Candidate& c) { return !c.endpoint->hint_zones.empty(); };
  const auto is_for_zone = [&](const Candidate& c) {
    return std::ranges::find(c.endpoint->hint_zones, zone) != c.endpoint->hint_zones.end();
  };
  if (!std::ranges::all_of(candidates, has_hints) || std::ranges::none_of(candidates, is_for_zone)) return;
  std::erase_if(candidates, [&](const Candidate& candidate) { return !is_for_zone(candidate); });
}

}  // namespace

std::string zone_of(const Snapshot& snapshot, std::string_view node) {
  const source::Node* found = node.empty() ? nullptr : snapshot.find_node(node);
  if (found == nullptr) return {};
  const auto label = found->meta.labels.find("topology.kubernetes.io/zone");
  return label == found->meta.labels.end() ? std::string() : label->second;
}

std::vector<Candidate> choose_endpoints(const Snapshot& snapshot, const Service& service,
                                        const EndpointQuestion& question) {
  std::vector<Candidate> candidates = ready_endpoints(snapshot, question.target);
  keep_one_family(service, candidates);
  if (service.local_traffic_only && !question.client_node.empty()) {
    // No fallback: the API says traffic is dropped when the node has no endpoint.
    std::erase_if(candidates, [&](const Candidate& candidate) {
      return candidate.endpoint->node_name != question.client_node;
    });
    return candidates;
  }
  keep_hinted_zone(zone_of(snapshot, question.client_node), candidates);
  return candidates;
}

}  // namespace heddle::control
