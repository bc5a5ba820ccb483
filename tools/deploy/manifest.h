// SPDX-License-Identifier: Apache-2.0
// PURE. From values to Kubernetes objects, and the same objects as a kustomize base and as a Helm chart.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/deploy/remove.h"

namespace heddle::tools {

// A YAML stream of all objects, in an order that an empty cluster takes. `values` were checked.
Result<std::string> render_manifest(const boost::json::object& values);

// How much of an installation is to go. Nodes are cleaned up by agents that end, and those ask the API server
// whether they are replaced or removed: for that their role must still be there.
enum class Removal {
  nodes,  // the webhook and the DaemonSets
  everything,
};

// What to delete, as YAML of names only: first the webhook and the agent, last the namespace. Without a
// namespace of ours: also what heddle-control made in it. With one, its PodDisruptionBudget goes with it
// unnamed: its API version is another on old servers.
Result<std::string> render_removal(const boost::json::object& values, Removal removal);

// The same objects where the API server keeps them.
Result<RemovalPlan> removal_plan(const boost::json::object& values);

struct File {
  std::string path;  // relative
  std::string text;
};

// deploy/kustomize: the objects and kustomization.yaml.
Result<std::vector<File>> kustomize_files(const boost::json::object& values);

// The chart as it was compiled in, with `values` as its defaults.
std::vector<File> helm_chart(const boost::json::object& values);

// The ConfigMap that remembers, for `upgrade`, what was chosen (`chosen`: without defaults) and which version
// it was.
std::string render_choice(const boost::json::object& values, const boost::json::object& chosen,
                          const std::string& version);
inline constexpr const char* choice_name = "heddle-install";

}  // namespace heddle::tools
