// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "agent/admin/drops.h"
#include "agent/admin/http_server.h"
#include "agent/admin/pages.h"
#include "agent/agent.h"
#include "agent/cni/policy_file.h"
#include "agent/cni/server.h"
#include "agent/enrolment.h"
#include "agent/events/recorder.h"
#include "agent/identity/pod_tokens.h"
#include "agent/identity/requests.h"
#include "agent/interception.h"
#include "agent/loop.h"
#include "agent/own_daemonset.h"
#include "agent/pods/directory.h"
#include "agent/proxy_link/links.h"
#include "agent/state/state_store.h"
#include "control/source/kubernetes/caller.h"

namespace heddle::agent {

// Destroyed in reverse: first what calls, last what is called.
struct Agent::Parts {
  std::string folder;  // RUN/agent
  Fd lock;
  std::vector<IpAddress> node_ips;
  SavedState saved;
  bool state_lost = false;
  bool ready = false;
  Result<> ended{};  // why the loop was stopped

  Loop loop;
  std::unique_ptr<StateStore> store;
  Interception interception;
  std::unique_ptr<source::kubernetes::Caller> api;  // null unless the source is a cluster
  std::unique_ptr<PodDirectory> directory;
  std::unique_ptr<PolicyFile> policy;
  std::unique_ptr<Enrolment> enrolment;
  std::unique_ptr<EventRecorder> events;  // null without a cluster
  std::unique_ptr<PodTokens> tokens;      // null without a cluster
  std::unique_ptr<CertificateRequests> certificates;
  std::unique_ptr<ProxyLinks> links;
  std::unique_ptr<DropLog> drops;
  std::unique_ptr<AdminPages> pages;
  std::unique_ptr<HttpServer> admin;
  std::unique_ptr<HttpServer> http;
  std::unique_ptr<CniServer> cni;
  std::unique_ptr<Loop::Handle> drops_timer;
  std::unique_ptr<OwnDaemonSet> daemonset;
  bool leaving = false;       // told to end
  bool uninstalling = false;  // and nobody comes after
  std::unique_ptr<Loop::Handle> leaving_deadline;
  std::unique_ptr<Loop::Handle> handing_over;  // told to end while no proxy is there
  std::unique_ptr<Loop::Handle> node_ips_timer;
  std::unique_ptr<Loop::Handle> signals;
  std::unique_ptr<Loop::Handle> held_deadline;
};

}  // namespace heddle::agent
