// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "control/source/kubernetes/client.h"
#include "control/source/kubernetes/list_watch.h"
#include "control/source/source.h"

namespace heddle::source {

struct KubernetesOptions {
  // A kubeconfig; empty: the files of the environment variable KUBECONFIG (separated by ':'), else what a pod
  // finds (KUBERNETES_SERVICE_HOST, the files of its ServiceAccount), else ~/.kube/config.
  std::string kubeconfig;
  std::string context;  // empty: current-context
  bool insecure_skip_tls_verify = false;
  std::string node_name;  // not empty: only the pods of this node, and namespaces; nothing else is asked for

  kubernetes::Timeouts timeouts;
  kubernetes::ListWatch::Policy policy;
  std::size_t line_limit = kubernetes::WatchDecoder::default_line_limit;
  std::chrono::milliseconds publish_delay{10};     // from a change to the snapshot that has it, at least
  std::chrono::milliseconds publish_interval{40};  // between two snapshots, at least
};

// Namespaces, Nodes, Pods, Services and EndpointSlices (or Endpoints, where a cluster has no slices) of a
// cluster, listed once and then watched, over one connection (each over its own where the server has no
// HTTP/2). start() returns at once; the
// first snapshot is announced, and status().synced set, when all of them were listed. When the API server is
// away or refuses, what is known stays in use; that is logged once a minute at most. Objects that cannot be
// decoded keep their last good version and are counted as broken_files.
// Errors: a kubeconfig that cannot be read or used.
Result<std::unique_ptr<Source>> make_kubernetes_source(const KubernetesOptions& options);

}  // namespace heddle::source
