// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/pods/pod_spec.h"
#include "base/result.h"

namespace heddle::agent {

struct NamespaceFacts {
  std::string name;
  Annotations annotations;  // heddle's and Linkerd's

  bool operator==(const NamespaceFacts&) const = default;
};

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
};

// "none", or what control/source takes ("folder:PATH").
Result<std::unique_ptr<PodDirectory>> make_directory(const std::string& spec);

}  // namespace heddle::agent
