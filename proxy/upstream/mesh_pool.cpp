// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/mesh_pool.h"

#include <algorithm>
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
  std::uint64_t netns_cookie = 0;  // a pod's id is given to another pod later, its cookie never
  bool http2 = false;
  SocketAddress to;
  std::string identity;  // an address may be somebody else's later
  // And be reached in another way.
  std::string server_name;
  ProtocolHint hint = ProtocolHint::none;
  std::uint16_t transport_port = 0;

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
      : worker_(worker),
        engine_(worker.loop, scratch_,
                {.head = worker.settings.http_head_timeout,
                 .idle = worker.settings.http_idle_timeout,
                 .stall = worker.settings.http_stall_timeout}),
        sweeper_(worker.loop, [this] { sweep(); }) {}

  std::unique_ptr<Pending> open_tunnel(PodRef pod, EndpointRef endpoint, SocketAddress client,
                                       std::chrono::milliseconds timeout, Content content,
                                       Done done) override {
    return bucket(pod, endpoint, false).open_tunnel(client, timeout, content, std::move(done));
  }

  http::Client* acquire(const PodRef& pod, const EndpointRef& endpoint, bool http2,
                        http::ClientWaiter& waiter) override {
    return bucket(pod, endpoint, http2).acquire(waiter);
  }

  http::Engine& engine() override { return engine_; }

  void forget(std::uint32_t pod_id) override { forget_buckets(buckets_, pod_id); }

  void drain() override {
    for (auto& [key, bucket] : buckets_) bucket->drain();
  }

  bool has_streams() const override {
    return std::any_of(buckets_.begin(), buckets_.end(),
                       [](const auto& entry) { return entry.second->has_streams(); });
  }

 private:
  MeshBucket& bucket(const PodRef& pod, const EndpointRef& endpoint, bool http2) {
    // With the hint all requests go as HTTP/2, whatever they were; to a heddle they always do.
    const EndpointInfo& info = endpoint->info;
    const bool only_http2 = http2 && info.hint != ProtocolHint::h2;
    auto& found = buckets_[MeshKey{pod->id, pod->netns_cookie, only_http2, info.address, info.identity,
                                   info.server_name, info.hint, info.opaque_transport_port}];
    if (!found) {
      found =
          std::make_unique<MeshBucket>(worker_, engine_, pod, info, http2 || info.hint == ProtocolHint::h2);
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
  // Takes what a peer of ours writes at once, or the end of each batch would be handed on for itself.
  alignas(64) std::array<std::byte, 80 * 1024> scratch_;
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
