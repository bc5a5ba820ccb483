// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "control/source/kubernetes/caller.h"
#include "tools/cluster/exec_frames.h"

namespace heddle::tools {

// How to reach a cluster: as kubectl does.
struct ClusterFlags {
  std::string kubeconfig;  // empty: KUBECONFIG, else ~/.kube/config, else what a pod finds
  std::string context;     // empty: current-context
  bool insecure_skip_tls_verify = false;
  std::string control_namespace = "heddle";  // where heddle is installed
};

// One pod of heddle's DaemonSet of agents.
struct AgentPod {
  std::string node;
  ExecTarget pod;
  std::string trouble;  // why it cannot be asked; empty: it runs
};

// A cluster as the person at the shell may see it. Blocking; one thread.
class Cluster {
 public:
  // Errors: a kubeconfig that cannot be read or used.
  static Result<Cluster> open(const ClusterFlags& flags);

  // GET of one object or list; any status but 200 is an error (Errc::not_found, Errc::permission_denied, ...)
  // that has the API server's message.
  Result<boost::json::object> get(const std::string& path);
  // GET of what is no object: a log, a page through the proxy subresource.
  Result<std::string> get_text(const std::string& path);
  // POST of an object, for reviews, which only answer; any status but 200 and 201 is an error.
  Result<boost::json::object> create(const std::string& path, const boost::json::object& object);
  // DELETE of an object once what it owns is gone (foreground); its last state, or the API server's word for
  // it. Errc::not_found: there is none.
  Result<boost::json::object> remove(const std::string& path);
  // All of heddle's agents, by node. Errc::not_found: heddle is not installed in the namespace.
  Result<std::vector<AgentPod>> agents();
  // The first address of a Service, else of a Pod, of that name.
  Result<IpAddress> address_of(const std::string& ns, const std::string& name);

  std::shared_ptr<const source::kubernetes::Access> access() const { return access_; }
  const ClusterFlags& flags() const { return flags_; }

 private:
  Result<std::string> body_of(source::kubernetes::Request request);
  Result<boost::json::object> ask(source::kubernetes::Request request);
  explicit Cluster(ClusterFlags flags) : flags_(std::move(flags)) {}

  ClusterFlags flags_;
  std::shared_ptr<const source::kubernetes::Access> access_;
  std::unique_ptr<source::kubernetes::Caller> caller_;
};

// PURE: the agents among the pods of a PodList.
std::vector<AgentPod> agents_of(const boost::json::object& pods);

// Whether kubectl would find a cluster without flags: KUBECONFIG or ~/.kube/config.
bool kubeconfig_found();

}  // namespace heddle::tools
