// SPDX-License-Identifier: Apache-2.0
#include "agent/datapath/pod_table.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>

#include "agent/datapath/pod_entry.h"

namespace heddle::agent {
namespace {

// Calls back for each key of a map.
template <class Key, class Each>
void each_key(int map, Each each) {
  Key key{};
  Key next{};
  const void* from = nullptr;
  while (bpf_map_get_next_key(map, from, &next) == 0) {
    each(next);
    key = next;
    from = &key;
  }
}

}  // namespace

PodTable::PodTable(const Object& object)
    : pods_(object.map("pods")),
      addresses_(object.map("addresses")),
      listeners_(object.map("listeners")),
      verdicts_(object.map("verdicts")) {}

Result<> PodTable::read_addresses() {
  each_key<heddle_ip_key>(addresses_, [this](const heddle_ip_key& key) {
    heddle_pod_ref ref{};
    if (bpf_map_lookup_elem(addresses_, &key, &ref) == 0)
      addresses_of_[ref.cookie].push_back(from_words(key.ip));
  });
  return {};
}

std::optional<heddle_pod> PodTable::find(std::uint64_t cookie) const {
  heddle_pod entry{};
  if (bpf_map_lookup_elem(pods_, &cookie, &entry) != 0) return std::nullopt;
  return entry;
}

std::vector<std::pair<std::uint64_t, std::uint32_t>> PodTable::list() const {
  std::vector<std::pair<std::uint64_t, std::uint32_t>> out;
  each_key<std::uint64_t>(pods_, [&](std::uint64_t cookie) {
    if (const auto entry = find(cookie)) out.emplace_back(cookie, entry->id);
  });
  return out;
}

Result<> PodTable::put(std::uint64_t cookie, const heddle_pod& entry) {
  if (bpf_map_update_elem(pods_, &cookie, &entry, BPF_ANY) == 0) return {};
  if (errno == E2BIG) {
    return make_error(Errc::exhausted, "the map of pods is full: at most " + std::to_string(HEDDLE_MAX_PODS) +
                                           " pods of a node can be enrolled");
  }
  return make_errno(errno, "cannot write the pod's map entry");
}

Result<> PodTable::put_addresses(std::uint64_t cookie, const std::vector<IpAddress>& addresses) {
  const heddle_pod_ref ref{cookie};
  auto& known = addresses_of_[cookie];
  for (const auto& ip : addresses) {
    const auto key = to_key(ip);
    if (bpf_map_update_elem(addresses_, &key, &ref, BPF_ANY) != 0) {
      return make_errno(errno, "cannot write the map entry of the pod's address " + ip.to_string());
    }
    if (std::find(known.begin(), known.end(), ip) == known.end()) known.push_back(ip);
  }
  std::erase_if(known, [&](const IpAddress& ip) {
    if (std::find(addresses.begin(), addresses.end(), ip) != addresses.end()) return false;
    if (owns(cookie, ip)) {
      const auto key = to_key(ip);
      bpf_map_delete_elem(addresses_, &key);
    }
    return true;
  });
  return {};
}

Result<> PodTable::put_listener(std::uint32_t pod_id, int listener) {
  const auto fd = static_cast<std::uint64_t>(listener);
  if (bpf_map_update_elem(listeners_, &pod_id, &fd, BPF_ANY) == 0) return {};
  return make_errno(errno, "cannot put the pod's inbound listener into the map");
}

Result<> PodTable::put_counters(std::uint32_t pod_id) {
  const heddle_counters zero{};
  if (bpf_map_update_elem(verdicts_, &pod_id, &zero, BPF_NOEXIST) == 0 || errno == EEXIST) return {};
  return make_errno(errno, "cannot make the pod's counters");
}

void PodTable::erase(std::uint64_t cookie) {
  bpf_map_delete_elem(pods_, &cookie);
}

void PodTable::erase_addresses(std::uint64_t cookie) {
  const auto found = addresses_of_.find(cookie);
  if (found == addresses_of_.end()) return;
  for (const auto& ip : found->second) {
    if (!owns(cookie, ip)) continue;  // another pod has it by now
    const auto key = to_key(ip);
    bpf_map_delete_elem(addresses_, &key);
  }
  addresses_of_.erase(found);
}

void PodTable::erase_listener_and_counters(std::uint32_t pod_id) {
  bpf_map_delete_elem(listeners_, &pod_id);
  if (pod_id != 0) bpf_map_delete_elem(verdicts_, &pod_id);
}

bool PodTable::owns(std::uint64_t cookie, const IpAddress& ip) const {
  const auto key = to_key(ip);
  heddle_pod_ref ref{};
  return bpf_map_lookup_elem(addresses_, &key, &ref) == 0 && ref.cookie == cookie;
}

bool PodTable::has_listener(std::uint32_t pod_id) const {
  std::uint64_t socket_cookie = 0;
  return bpf_map_lookup_elem(listeners_, &pod_id, &socket_cookie) == 0;
}

VerdictCounts PodTable::counts(std::uint32_t pod_id) const {
  VerdictCounts out{};
  heddle_counters counters{};
  if (bpf_map_lookup_elem(verdicts_, &pod_id, &counters) != 0) return out;
  std::copy(std::begin(counters.count), std::end(counters.count), out.begin());
  return out;
}

}  // namespace heddle::agent
