// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "control/source/kubernetes/connections.h"

namespace heddle::source::kubernetes {

// Which object: "/api/v1/namespaces/heddle/secrets" and its name. Rights for it may be given by
// resourceNames.
struct ObjectName {
  std::string collection;
  std::string name;
};

// What a watch of one object and whoever wants to know of its changes share.
class ObjectNews {
 public:
  explicit ObjectNews(std::function<void()> told) : told_(std::move(told)) {}

  // Tells, unless it was silenced.
  void tell();
  // When it returns nothing is told any longer. Not from within what is told.
  void silence();
  bool silenced() const;

  // What it was before.
  bool set_watching(bool watching) { return watching_.exchange(watching); }
  bool watching() const { return watching_; }

 private:
  mutable std::mutex mutex_;
  std::function<void()> told_;  // empty: silenced
  std::atomic<bool> watching_{false};
};

// Watches one object until `news` is silenced or this is cancelled: tells when the object may have changed,
// and when watching becomes possible or impossible. What it is now, who is told must ask: news carry nothing,
// so that none can be lost. What is refused is tried again every 5 minutes at most, and logged once.
boost::asio::awaitable<void> watch_object(std::shared_ptr<Connections> connections, ObjectName object,
                                          std::shared_ptr<ObjectNews> news);

}  // namespace heddle::source::kubernetes
