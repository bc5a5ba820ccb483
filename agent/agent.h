// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "agent/departure.h"
#include "agent/options.h"
#include "base/result.h"

namespace heddle::agent {

// The process: makes the parts, starts them in order, runs until SIGTERM or SIGINT. Leaves everything in
// place, so that the next agent takes over, unless its DaemonSet is gone; uninstall() takes everything down.
class Agent {
 public:
  explicit Agent(Options options);
  ~Agent();

  Result<> start();
  // Until a signal ends it; an error when it cannot go on.
  Result<> run();
  Result<> uninstall();

 private:
  struct Parts;
  Result<> prepare_folders();
  Result<> open_state();
  Result<> open_interception();
  void look_for_node_ips();
  Result<> open_directory();
  Result<> open_enrolment();
  void open_certificates();
  Result<> open_proxy_link();
  Result<> open_admin();
  void recover();
  void recovered();
  Result<> open_doors();
  void stop_watching_for_held();
  void find_daemonset();
  void leave(int signal);
  void depart(const Departure& departure);
  void hand_over(const Departure& departure);
  void announce(const Departure& departure);
  Result<> remove_traces();

  Options options_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace heddle::agent
