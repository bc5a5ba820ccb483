// SPDX-License-Identifier: Apache-2.0
#include <list>
#include <random>
#include <unordered_map>
#include <vector>

#include "proxy/discovery/worker_directory.h"
#include "proxy/io/loop.h"

namespace heddle::proxy {
namespace {

struct KeyHash {
  std::size_t operator()(const LookupKey& key) const {
    const std::hash<std::string> hash;
    return (hash(key.ns) * 31 + IpHash{}(key.address)) * 31 + (key.name.empty() ? 0 : hash(key.name));
  }
};

struct Waiting {
  std::function<void()> ready;  // empty: cancelled or called
};

class WaiterHandle final : public Directory::Waiter {
 public:
  explicit WaiterHandle(std::shared_ptr<Waiting> waiting) : waiting_(std::move(waiting)) {}
  ~WaiterHandle() override { waiting_->ready = nullptr; }

 private:
  std::shared_ptr<Waiting> waiting_;
};

class Table final : public WorkerDirectory, public std::enable_shared_from_this<Table> {
 public:
  Table(Loop& loop, Settings settings, Upstream upstream)
      : settings_(settings),
        upstream_(std::move(upstream)),
        loop_(loop),
        sweep_(loop, [this] { forget_idle(); }) {}
  ~Table() override { upstream_.destroyed(); }

  DestinationRef lookup(const Pod& client, const LookupKey& key) {
    auto it = entries_.find(key);
    if (it == entries_.end()) {
      auto destination = std::make_shared<Destination>(random_());
      destination->address = key.address;
      destination->authority = key.text();
      if (entries_.size() >= settings_.max_entries && !make_room()) {
        // Every entry is in use: fails closed.
        destination->state = Destination::State::not_found;
        destination->unavailable = true;
        return destination;
      }
      it = entries_.emplace(key, Held{std::move(destination), {}, {}}).first;
      it->second.place = order_.insert(order_.end(), &it->first);
      upstream_.subscribe(key, client.name);
      if (!sweep_.armed()) sweep_.arm(settings_.idle / 4);
    }
    it->second.used = loop_.now();
    order_.splice(order_.end(), order_, it->second.place);
    return it->second.destination;
  }

  std::unique_ptr<Directory::Waiter> when_known(const DestinationRef& entry, std::function<void()> ready) {
    auto waiting = std::make_shared<Waiting>(Waiting{std::move(ready)});
    if (entry->state == Destination::State::pending) {
      waiting_[entry.get()].push_back(waiting);
    } else {
      call_later({waiting});
    }
    return std::make_unique<WaiterHandle>(std::move(waiting));
  }

  void apply(const LookupKey& key, const ResolutionRef& resolution) override {
    const auto it = entries_.find(key);
    if (it == entries_.end() || resolution->state == Destination::State::pending) return;
    Destination& d = *it->second.destination;
    d.state = resolution->state;
    d.unavailable = resolution->unavailable;
    d.authority = resolution->authority;
    d.opaque = resolution->opaque;
    d.labels = resolution->labels;
    d.server_speaks_first = false;
    d.client_speaks_first = false;
    d.series.clear();
    d.joined.clear();
    d.balancer.update(resolution->endpoints);
    if (!resolution->endpoint) {
      if (d.endpoint) d.endpoint->removed = true;
      d.endpoint = nullptr;
    } else if (!d.endpoint || d.endpoint->info != *resolution->endpoint) {
      if (d.endpoint) d.endpoint->removed = true;
      d.endpoint = std::make_shared<Endpoint>(*resolution->endpoint);
    }
    const auto waiters = waiting_.find(&d);
    if (waiters == waiting_.end()) return;
    auto all = std::move(waiters->second);
    waiting_.erase(waiters);
    call_later(std::move(all));
  }

 private:
  struct Held {
    DestinationRef destination;
    Loop::Clock::time_point used;
    std::list<const LookupKey*>::iterator place;  // in order_
  };
  using Entries = std::unordered_map<LookupKey, Held, KeyHash>;

  Entries::iterator forget(Entries::iterator it) {
    waiting_.erase(it->second.destination.get());
    order_.erase(it->second.place);
    upstream_.unsubscribe(it->first);
    return entries_.erase(it);
  }

  // A pod that scans addresses must neither grow this without end nor keep other pods' addresses out: what
  // was not dialled for the longest time gives way, unless a connection uses it. Looks at a few only.
  bool make_room() {
    constexpr int looked_at = 16;
    int left = looked_at;
    for (auto key = order_.begin(); key != order_.end() && left > 0; ++key, --left) {
      const auto it = entries_.find(**key);
      if (it->second.destination.use_count() > 1) continue;
      forget(it);
      return true;
    }
    // These are in use: the next look begins behind them.
    for (int passed = looked_at - left; passed > 0; --passed)
      order_.splice(order_.end(), order_, order_.begin());
    return false;
  }

  void call_later(std::vector<std::shared_ptr<Waiting>> all) {
    loop_.defer([all = std::move(all)] {
      for (const auto& waiting : all) {
        if (!waiting->ready) continue;
        const auto ready = std::exchange(waiting->ready, nullptr);
        ready();
      }
    });
  }

  void forget_idle() {
    const auto now = loop_.now();
    for (auto it = entries_.begin(); it != entries_.end();) {
      Destination& destination = *it->second.destination;
      if (now - destination.series_since > settings_.idle) destination.series.clear();
      if (now - destination.joined_since > settings_.idle) destination.joined.clear();
      // More than our own reference: connections use it.
      if (it->second.destination.use_count() > 1) it->second.used = now;
      if (now - it->second.used < settings_.idle) {
        ++it;
        continue;
      }
      it = forget(it);
    }
    if (!entries_.empty()) sweep_.arm(settings_.idle / 4);
  }

  const Settings settings_;
  const Upstream upstream_;
  Loop& loop_;
  Entries entries_;
  std::list<const LookupKey*> order_;  // keys of entries_, the latest dialled last
  std::unordered_map<const Destination*, std::vector<std::shared_ptr<Waiting>>> waiting_;
  std::mt19937_64 random_{std::random_device{}()};
  Timer sweep_;
};

class TableDirectory final : public Directory {
 public:
  explicit TableDirectory(std::shared_ptr<Table> table) : table_(std::move(table)) {}
  DestinationRef lookup(const Pod& client, const SocketAddress& original_dst) override {
    return table_->lookup(client, {client.ns, original_dst});
  }
  DestinationRef lookup(const Pod& client, const std::string& name, std::uint16_t port) override {
    return table_->lookup(client, {client.ns, SocketAddress{{}, port}, name});
  }
  std::unique_ptr<Waiter> when_known(DestinationRef entry, std::function<void()> ready) override {
    return table_->when_known(entry, std::move(ready));
  }

 private:
  std::shared_ptr<Table> table_;
};

}  // namespace

MadeDirectory make_worker_directory(Loop& loop, WorkerDirectory::Settings settings,
                                    WorkerDirectory::Upstream upstream) {
  auto table = std::make_shared<Table>(loop, settings, std::move(upstream));
  return {std::make_unique<TableDirectory>(table), table};
}

}  // namespace heddle::proxy
