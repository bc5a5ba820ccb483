// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "control/injector/counters.h"
#include "control/source/kubernetes/caller.h"
#include "control/source/snapshot.h"

namespace heddle::control {

// Removes the startup taint from nodes whose agent is ready. Replicas may do so at once: the patch of the
// second one fails, and there is nothing left to do. On a thread of its own; destruction waits for the call
// that is under way.
class TaintKeeper {
 public:
  TaintKeeper(source::kubernetes::Caller& caller, std::string control_namespace);
  ~TaintKeeper();
  TaintKeeper(const TaintKeeper&) = delete;
  TaintKeeper& operator=(const TaintKeeper&) = delete;

  // Objects have changed. Thread-safe, does not block; the latest counts.
  void look(std::shared_ptr<const source::Snapshot> snapshot);
  const TaintCounters& counters() const { return counters_; }

 private:
  void run();
  bool free_nodes(const source::Snapshot& snapshot);  // false: to be tried again
  bool free_node(const std::string& name);
  bool failed(const std::string& name, const std::string& why);

  source::kubernetes::Caller& caller_;
  const std::string control_namespace_;
  TaintCounters counters_;
  std::string told_;  // of what was last complained
  std::mutex mutex_;
  std::condition_variable wake_;
  std::shared_ptr<const source::Snapshot> snapshot_;  // null before the first look()
  bool changed_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace heddle::control
