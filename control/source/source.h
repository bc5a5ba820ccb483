// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "base/result.h"
#include "control/source/snapshot.h"

namespace heddle::source {

// For metrics and readiness.
struct Status {
  std::uint64_t version = 0;  // of the current snapshot
  std::size_t objects = 0;
  std::size_t broken_files = 0;  // now, or single objects; their last good objects are still served
  std::uint64_t errors = 0;      // ever: files, objects or answers that could not be had or used
  bool connected = false;        // changes are being seen
  bool synced = false;           // everything was read at least once: current() is complete
  // When the source last heard of anything; an outage shows as growing age.
  std::chrono::steady_clock::time_point last_heard = std::chrono::steady_clock::now();
};

// Where Kubernetes' objects come from. Thread-safe; destruction stops it and waits for its thread.
class Source {
 public:
  using Listener = std::function<void(std::shared_ptr<const Snapshot>)>;

  virtual ~Source() = default;

  // A folder is read once before this returns, so that current() is complete; a cluster is read afterwards,
  // and status().synced tells when current() is complete. `on_change` is called on the source's own thread,
  // one call at a time, with each later snapshot. Must be called once. Errc::not_found and the like name what
  // is missing; a broken file is not an error (it is logged and counted).
  virtual Result<> start(Listener on_change) = 0;
  // Never null: empty before start().
  virtual std::shared_ptr<const Snapshot> current() const = 0;
  virtual Status status() const = 0;
};

// "folder:PATH" (see FolderSource); a cluster is made by make_kubernetes_source().
// Errc::invalid_argument tells the accepted forms.
Result<std::unique_ptr<Source>> make_source(std::string_view spec);

}  // namespace heddle::source
