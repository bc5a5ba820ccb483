// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/pods/pod_spec.h"
#include "agent/pods/source_pod.h"
#include "agent/pods/unseen_pod.h"
#include "base/result.h"

namespace heddle::source {
class Snapshot;
class Source;
namespace kubernetes {
class Caller;
}
}  // namespace heddle::source

namespace heddle::agent {

struct NamespaceFacts {
  std::string name;
  Annotations annotations;  // heddle's and Linkerd's

  bool operator==(const NamespaceFacts&) const = default;
};

// By name.
std::vector<NamespaceFacts> namespace_facts(const source::Snapshot& snapshot);

// What Kubernetes says of pods, from the same source the control plane reads.
class PodDirectory {
 public:
  virtual ~PodDirectory() = default;

  // `on_change` is called on another thread, after changes. Reads everything once before it returns.
  virtual Result<> start(std::function<void()> on_change) = 0;
  // The pod, if the source knows it and, where both are known, the uid is the same.
  virtual std::optional<SourcePod> find(std::string_view ns, std::string_view name,
                                        std::string_view uid) const = 0;
  // Every namespace, by name. Without a value: the source has not read everything yet.
  virtual std::optional<std::vector<NamespaceFacts>> namespaces() const = 0;
  // False for a source that never knows anything (`none`).
  virtual bool enabled() const = 0;

  // Asks, instead of waiting until find() knows the pod. `done` is called once, by `deadline`, perhaps on
  // another thread. False: this source cannot be asked, and `done` is never called.
  using Answered = std::function<void(PodAnswer)>;
  virtual bool look_up(std::string_view, std::string_view, std::string_view, std::chrono::milliseconds,
                       const Answered&) {
    return false;
  }
  // What runs on this node, for enrolling pods that started before heddle did. Empty for a source that has
  // not read everything yet, or does not know nodes.
  virtual std::vector<RunningPod> running() const { return {}; }
};

// "none", or what control/source takes ("folder:PATH").
Result<std::unique_ptr<PodDirectory>> make_directory(const std::string& spec);

// Of a cluster's API server: a source of this node's pods and of namespaces, and `api` for single questions
// (which outlives the directory).
std::unique_ptr<PodDirectory> make_cluster_directory(std::unique_ptr<source::Source> from,
                                                     source::kubernetes::Caller& api);

}  // namespace heddle::agent
