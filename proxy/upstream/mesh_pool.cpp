// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/mesh_pool.h"

#include <list>
#include <unordered_map>

#include "base/log.h"
#include "proxy/http/engine.h"
#include "proxy/upstream/mesh_bucket.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

constexpr std::chrono::seconds sweep_interval{5};

struct MeshKey {
  std::uint32_t pod = 0;
  bool http2 = false;
  SocketAddress to;
  std::string identity;  // an address may be somebody else's later

  bool operator==(const MeshKey&) const = default;
};

struct MeshKeyHash {
  std::size_t operator()(const MeshKey& key) const {
    return IpHash{}(key.to) * 31 + std::hash<std::string_view>{}(key.identity) * 7 + key.pod * 2u +
           (key.http2 ? 1u : 0u);
  }
};

class Pool final : public MeshPool {
 public:
  explicit Pool(Worker& worker)
      : worker_(worker), engine_(worker.loop, scratch_), sweeper_(worker.loop, [this] { sweep(); }) {}

  std::unique_ptr<Pending> open_tunnel(PodRef pod, EndpointRef endpoint, SocketAddress client,
                                       std::chrono::milliseconds timeout, Done done) override {
    return bucket(pod, endpoint, false).open_tunnel(client, timeout, std::move(done));
  }

  http::Client* acquire(const PodRef& pod, const EndpointRef& endpoint, bool http2,
                        http::ClientWaiter& waiter) override {
    return bucket(pod, endpoint, http2).acquire(waiter);
  }

  http::Engine& engine() override { return engine_; }

  void drain() override {
    for (auto& [key, bucket] : buckets_) bucket->drain();
  }

 private:
  MeshBucket& bucket(const PodRef& pod, const EndpointRef& endpoint, bool http2) {
    // With the hint all requests go as HTTP/2, whatever they were; to a heddle they always do.
    const bool only_http2 = http2 && endpoint->info.hint == ProtocolHint::none;
    auto& found = buckets_[MeshKey{pod->id, only_http2, endpoint->info.address, endpoint->info.identity}];
    if (!found) {
      found = std::make_unique<MeshBucket>(worker_, engine_, pod, endpoint->info,
                                           http2 || endpoint->info.hint == ProtocolHint::h2);
      if (!sweeper_.armed()) sweeper_.arm(sweep_interval);
    }
    return *found;
  }

  void sweep() {
    const auto now = worker_.loop.now();
    std::erase_if(buckets_, [&](auto& entry) { return entry.second->sweep(now); });
    if (!buckets_.empty()) sweeper_.arm(sweep_interval);
  }

  Worker& worker_;
  // Not the worker's: relays read into that one, also from within what a parser calls.
  alignas(64) std::array<std::byte, 64 * 1024> scratch_;
  http::Engine engine_;
  std::unordered_map<MeshKey, std::unique_ptr<MeshBucket>, MeshKeyHash> buckets_;
  Timer sweeper_;
};

}  // namespace

const char* to_string(Wire wire) {
  switch (wire) {
    case Wire::heddle:
      return "heddle";
    case Wire::linkerd_transparent:
      return "linkerd-transparent";
    case Wire::linkerd_transport:
      return "linkerd-transport";
    case Wire::plaintext:
      return "plaintext";
    case Wire::local:
      return "local";
  }
  return "plaintext";
}

std::unique_ptr<MeshPool> make_mesh_pool(Worker& worker) {
  return std::make_unique<Pool>(worker);
}

}  // namespace heddle::proxy
