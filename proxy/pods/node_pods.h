// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unordered_map>

#include "base/fd.h"
#include "proxy/pods/pod.h"

namespace heddle::proxy {

// A pod's two listening sockets, made by the agent in the pod's netns. Shared by all workers and by the link,
// which gives them back to a new agent; the last one to let go closes them.
struct PodListeners {
  Fd outbound;
  Fd inbound;
};

// One worker's pods by id and by address. Worker-local.
class NodePods final : public PodTable {
 public:
  PodRef by_address(const IpAddress& ip) const override;
  PodRef by_id(std::uint32_t id) const override;

  // Adds the pod, or replaces the one with its id.
  void upsert(PodRef pod);
  // Removes and returns it; null when there is none of this id and cookie.
  PodRef remove(std::uint32_t id, std::uint64_t netns_cookie);
  std::size_t size() const { return by_id_.size(); }
  const std::unordered_map<std::uint32_t, PodRef>& all() const { return by_id_; }

 private:
  void forget_addresses(const Pod& pod);

  std::unordered_map<std::uint32_t, PodRef> by_id_;
  std::unordered_map<IpAddress, PodRef> by_address_;
};

}  // namespace heddle::proxy
