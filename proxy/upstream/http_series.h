// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <unordered_map>

#include "proxy/telemetry/telemetry.h"

namespace heddle::proxy {

// HTTP series found again by what their labels are made of, so that a request costs no label text. Per
// worker.
class HttpSeriesCache {
 public:
  // What determines the labels: kept alive by the cache, so an address is never somebody else's.
  struct Key {
    std::shared_ptr<const void> pod, destination, endpoint;
    const char* kind = "";  // a literal
  };
  template <class MakeLabels>
  const std::shared_ptr<HttpSeries>& find(Telemetry& telemetry, const Key& key,
                                          const MakeLabels& make_labels) {
    const Identity identity{key.pod.get(), key.destination.get(), key.endpoint.get(), key.kind};
    auto& entry = entries_[identity];
    if (!entry.series) entry = {key, telemetry.http(make_labels())};
    return entry.series;
  }
  // Lets go of everything: called now and then, so that what nobody uses can disappear.
  void clear() { entries_.clear(); }
  std::size_t size() const { return entries_.size(); }

 private:
  struct Identity {
    const void* pod;
    const void* destination;
    const void* endpoint;
    const char* kind;
    bool operator==(const Identity&) const = default;
  };
  struct Hash {
    std::size_t operator()(const Identity& identity) const {
      const std::hash<const void*> hash;
      return hash(identity.pod) * 31 + hash(identity.destination) * 17 + hash(identity.endpoint) * 7 +
             hash(identity.kind);
    }
  };
  struct Entry {
    Key key;
    std::shared_ptr<HttpSeries> series;
  };
  std::unordered_map<Identity, Entry, Hash> entries_;
};

}  // namespace heddle::proxy
