// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/http_pool.h"

#include <list>
#include <unordered_map>

#include "proxy/upstream/http_bucket.h"
#include "proxy/upstream/http_series.h"
#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

constexpr std::chrono::seconds sweep_interval{1};
constexpr std::size_t max_cached_series = 4096;
constexpr std::chrono::seconds series_lifetime{30};

struct BucketKey {
  std::uint32_t pod = 0;
  std::uint64_t netns_cookie = 0;  // a pod's id is given to another pod later, its cookie never
  bool http2 = false;
  SocketAddress to;
  IpAddress client;  // unspecified: any

  bool operator==(const BucketKey&) const = default;
};

struct BucketKeyHash {
  std::size_t operator()(const BucketKey& key) const {
    const IpHash hash;
    return hash(key.to) * 31 + hash(key.client) * 7 + key.pod * 2u + (key.http2 ? 1u : 0u);
  }
};

class PlainBucket final : public HttpBucket {
 public:
  PlainBucket(Worker& worker, HttpPool::Key key, Limits limits)
      : HttpBucket(worker.mesh_pool->engine(), limits, worker.budget(*key.pod)),
        worker_(worker),
        key_(std::move(key)) {}

  // Connections made from now on are shown as this client's.
  void show(const std::optional<SocketAddress>& client) { key_.show_client = client; }

 private:
  void connect() override {
    DialRequest request;
    request.pod = key_.pod;
    request.to = key_.to;
    request.show_client = key_.show_client;
    request.timeout = key_.show_client ? worker_.settings.inbound_connect_timeout
                                       : worker_.settings.outbound_connect_timeout;
    dials_.emplace_front();
    const auto mine = dials_.begin();
    *mine = worker_.dialer->dial(std::move(request), [this, mine](Result<std::unique_ptr<Stream>> result) {
      // The pending dial must outlive its own call.
      worker_.loop.defer([done = std::shared_ptr<Dialer::Pending>(std::move(*mine))] {});
      dials_.erase(mine);
      if (!result) return connect_failed(result.error());
      if (key_.http2) {
        h2_connected(std::move(*result), false);
      } else {
        h1_connected(std::move(*result));
      }
    });
  }

  Worker& worker_;
  HttpPool::Key key_;
  std::list<std::unique_ptr<Dialer::Pending>> dials_;
};

class Pool final : public HttpPool {
 public:
  explicit Pool(Worker& worker)
      : worker_(worker),
        sweeper_(worker.loop, [this] { sweep(); }),
        series_timer_(worker.loop, [this] { series_.clear(); }) {}

  http::Client* acquire(const Key& key, http::ClientWaiter& waiter) override {
    BucketKey bucket_key{key.pod->id, key.pod->netns_cookie, key.http2, key.to,
                         key.show_client ? key.show_client->ip : IpAddress{}};
    auto& bucket = buckets_[bucket_key];
    if (!bucket) {
      HttpBucket::Limits limits;
      limits.http2 = key.http2;
      bucket = std::make_unique<PlainBucket>(worker_, key, limits);
      if (worker_.draining) bucket->drain();
      if (!sweeper_.armed()) sweeper_.arm(sweep_interval);
    }
    if (key.show_client) bucket->show(key.show_client);
    return bucket->acquire(waiter);
  }

  http::Engine& engine() override { return worker_.mesh_pool->engine(); }

  HttpSeriesCache& series() override {
    if (series_.size() > max_cached_series) series_.clear();
    // It holds on to destinations, which discovery watches as long as somebody does.
    if (!series_timer_.armed()) series_timer_.arm(series_lifetime);
    return series_;
  }

  void forget(std::uint32_t pod_id) override { forget_buckets(buckets_, pod_id); }

  void drain() override {
    for (auto& [key, bucket] : buckets_) bucket->drain();
  }

 private:
  void sweep() {
    const auto now = worker_.loop.now();
    std::erase_if(buckets_, [&](auto& entry) { return entry.second->sweep(now); });
    if (!buckets_.empty()) sweeper_.arm(sweep_interval);
  }

  Worker& worker_;
  std::unordered_map<BucketKey, std::unique_ptr<PlainBucket>, BucketKeyHash> buckets_;
  Timer sweeper_;
  HttpSeriesCache series_;
  Timer series_timer_;
};

}  // namespace

std::unique_ptr<HttpPool> make_http_pool(Worker& worker) {
  return std::make_unique<Pool>(worker);
}

}  // namespace heddle::proxy
