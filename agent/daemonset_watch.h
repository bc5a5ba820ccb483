// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "agent/departure.h"
#include "control/source/kubernetes/access.h"

namespace heddle::agent {

// Follows one DaemonSet, on a thread of its own, so that its deletion is known although the right to ask is
// deleted with it. When the API server is away or refuses, it is tried again; nothing is told then.
class DaemonSetWatch {
 public:
  // `seen` is called on the watch's thread with each state: as it is when a watch begins, then with every
  // change. A deleted one does not exist and has a uid.
  DaemonSetWatch(source::kubernetes::Access access, const std::string& ns, const std::string& name,
                 std::function<void(DaemonSetState)> seen);
  // Waits for the thread.
  ~DaemonSetWatch();
  DaemonSetWatch(const DaemonSetWatch&) = delete;
  DaemonSetWatch& operator=(const DaemonSetWatch&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace heddle::agent
