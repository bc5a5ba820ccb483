// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>

#include "agent/admin/drops.h"
#include "agent/admin/http_server.h"
#include "agent/cni/request.h"
#include "agent/enrolment.h"
#include "agent/events/recorder.h"
#include "agent/identity/requests.h"
#include "agent/metrics.h"

namespace heddle::agent {

// What the agent shows: JSON on the admin socket, /live /ready /metrics on both. Main thread.
class AdminPages {
 public:
  struct Subjects {
    std::string node_name;
    Enrolment& enrolment;
    Interception& interception;
    ProxyLinks& links;
    CertificateRequests& certificates;
    StateStore& store;
    DropLog& drops;
    const bool& ready;
    const EventRecorder* events = nullptr;  // null without a cluster
  };
  explicit AdminPages(Subjects subjects);

  // Every CNI command, as answered.
  void count(const CniCall& call, const CniAnswer& answer, std::chrono::microseconds took);

  HttpAnswer admin(const HttpRequest& request);  // the socket: everything
  HttpAnswer open(const HttpRequest& request);   // the port: /live /ready /metrics

 private:
  std::string state();
  std::string verify();
  std::string metrics();
  void pod_metrics(MetricsText& text);
  void link_metrics(MetricsText& text);
  HttpAnswer drops(const HttpRequest& request);

  Subjects subjects_;
  std::uint64_t started_unix_;
  std::map<std::pair<std::string, std::uint32_t>, std::uint64_t> cni_;  // command and code
  Histogram enrolment_;
};

}  // namespace heddle::agent
