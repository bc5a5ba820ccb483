// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <functional>
#include <memory>
#include <string>

#include "proxy/discovery/directory.h"
#include "proxy/discovery/entry.h"

namespace heddle::proxy {

class Loop;

// What is asked for: an address or a name, as seen from a namespace. `node` and `pod` of whoever asked first
// go into the context token and do not count for equality.
struct LookupKey {
  std::string ns;
  SocketAddress address;  // of a name only the port counts
  std::string name = {};  // "web.shop.svc.cluster.local"; empty: the address
  // "10.96.0.10:80", or "web.shop.svc.cluster.local:80".
  std::string text() const {
    return name.empty() ? address.to_string() : name + ":" + std::to_string(address.port);
  }
  auto operator<=>(const LookupKey&) const = default;
  bool operator==(const LookupKey&) const = default;
};

// The worker's end: entries in memory, updated by posts.
class WorkerDirectory {
 public:
  struct Settings {
    std::chrono::milliseconds idle;
    std::size_t max_entries;
  };
  // How it asks; both may be called from its loop only and hand over to the discovery thread.
  struct Upstream {
    std::function<void(const LookupKey&, const std::string& pod_name)> subscribe;
    std::function<void(const LookupKey&)> unsubscribe;
    std::function<void()> destroyed;
  };
  virtual ~WorkerDirectory() = default;
  // On the worker's thread; ignored for an entry that was forgotten meanwhile.
  virtual void apply(const LookupKey& key, const ResolutionRef& resolution) = 0;
};

struct MadeDirectory {
  std::unique_ptr<Directory> directory;
  std::weak_ptr<WorkerDirectory> worker;  // for posts to the loop
};
MadeDirectory make_worker_directory(Loop& loop, WorkerDirectory::Settings settings,
                                    WorkerDirectory::Upstream upstream);

}  // namespace heddle::proxy
