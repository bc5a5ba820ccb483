// SPDX-License-Identifier: Apache-2.0
#include "proxy/pods/node_pods.h"

namespace heddle::proxy {

PodRef NodePods::by_address(const IpAddress& ip) const {
  const auto found = by_address_.find(ip);
  return found == by_address_.end() ? nullptr : found->second;
}

PodRef NodePods::by_id(std::uint32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : found->second;
}

void NodePods::forget_addresses(const Pod& pod) {
  for (const IpAddress& ip : pod.ips) {
    const auto found = by_address_.find(ip);
    // A younger pod may already have the address.
    if (found != by_address_.end() && found->second->id == pod.id) by_address_.erase(found);
  }
}

void NodePods::upsert(PodRef pod) {
  PodRef& slot = by_id_[pod->id];
  if (slot) forget_addresses(*slot);
  for (const IpAddress& ip : pod->ips) by_address_[ip] = pod;
  slot = std::move(pod);
}

PodRef NodePods::remove(std::uint32_t id, std::uint64_t netns_cookie) {
  const auto found = by_id_.find(id);
  if (found == by_id_.end() || found->second->netns_cookie != netns_cookie) return nullptr;
  PodRef pod = std::move(found->second);
  by_id_.erase(found);
  forget_addresses(*pod);
  return pod;
}

}  // namespace heddle::proxy
