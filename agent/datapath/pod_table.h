// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "agent/datapath/datapath.h"
#include "agent/datapath/loader.h"

namespace heddle::agent {

// What the maps say about pods. The maps are the truth; the only state here is an index of addresses by pod,
// read once, since the kernel's map answers the other way round only. References the object, which must
// outlive it.
class PodTable {
 public:
  explicit PodTable(const Object& object);

  // Reads the index; call once.
  Result<> read_addresses();

  std::optional<heddle_pod> find(std::uint64_t cookie) const;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> list() const;

  // Writes the entry of a pod.
  Result<> put(std::uint64_t cookie, const heddle_pod& entry);
  // Makes `addresses` point to the pod, and no others.
  Result<> put_addresses(std::uint64_t cookie, const std::vector<IpAddress>& addresses);
  Result<> put_listener(std::uint32_t pod_id, int listener);
  // Starts the pod's counters at zero unless there are some.
  Result<> put_counters(std::uint32_t pod_id);

  // None of these minds when there is nothing to remove.
  void erase(std::uint64_t cookie);
  void erase_addresses(std::uint64_t cookie);
  void erase_listener_and_counters(std::uint32_t pod_id);

  // Whether the address is known as the pod's, and whether the listener's socket lives.
  bool owns(std::uint64_t cookie, const IpAddress& ip) const;
  bool has_listener(std::uint32_t pod_id) const;
  VerdictCounts counts(std::uint32_t pod_id) const;

 private:
  int pods_, addresses_, listeners_, verdicts_;
  std::map<std::uint64_t, std::vector<IpAddress>> addresses_of_;
};

}  // namespace heddle::agent
