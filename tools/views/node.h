// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/cluster/cluster.h"
#include "tools/metrics/prometheus.h"
#include "tools/views/link.h"

namespace heddle::tools {

// One node whose agent and proxy can be asked through their admin sockets.
struct NodeView {
  std::string name;     // empty until its agent said so
  std::string run_dir;  // empty: the node is another machine
  std::string netns;    // path of the node's network namespace; empty: the caller's
  std::shared_ptr<const AdminLink> link;
  std::string trouble;  // why nothing can be asked; empty: it may be tried

  // For people: the name, or where it is.
  const std::string& label() const { return name.empty() ? run_dir : name; }

  Result<boost::json::object> agent_state() const;
  Result<boost::json::object> proxy_state() const;
  Result<std::vector<Sample>> proxy_metrics() const;
  Result<std::vector<Sample>> agent_metrics() const;
  // A GET whose body is one JSON object.
  Result<boost::json::object> get_json(AdminOf program, const std::string& target) const;
};

// Where to look: `run_dir` when given, else all nodes of the lab `lab`, else those of the cluster that is
// named by a flag; without any of these the only lab that is up, else the node this runs on (/run/heddle),
// else the cluster of kubectl's configuration.
struct Scope {
  std::string run_dir;
  std::string lab;
  ClusterFlags cluster;

  bool names_cluster() const { return !cluster.kubeconfig.empty() || !cluster.context.empty(); }
};
Result<std::vector<NodeView>> nodes_in(const Scope& scope);

// Whether nodes_in() asks a cluster.
bool is_cluster(const Scope& scope);

}  // namespace heddle::tools
