// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "tools/metrics/prometheus.h"

namespace heddle::tools {

// One node whose agent and proxy can be asked through their admin sockets.
struct NodeView {
  std::string name;  // empty until its agent said so
  std::string run_dir;
  std::string netns;  // path of the node's network namespace; empty: the caller's

  Result<boost::json::object> agent_state() const;
  Result<boost::json::object> proxy_state() const;
  Result<std::vector<Sample>> proxy_metrics() const;
  Result<std::vector<Sample>> agent_metrics() const;
  std::string agent_socket() const { return run_dir + "/agent/admin.sock"; }
  std::string proxy_socket() const { return run_dir + "/proxy/admin.sock"; }
};

// Where to look: `run_dir` when given, else all nodes of the lab `lab` (empty: the only lab that is up), else
// the node this runs on (/run/heddle).
struct Scope {
  std::string run_dir;
  std::string lab;
};
Result<std::vector<NodeView>> nodes_in(const Scope& scope);

// A GET whose body is one JSON object.
Result<boost::json::object> get_json(const std::string& socket, const std::string& target);

}  // namespace heddle::tools
