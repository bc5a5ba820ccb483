// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>

#include "base/ip.h"
#include "base/log.h"
#include "proxy/worker.h"

namespace heddle::proxy {

// heddle-proxy's command line.
struct ProgramOptions {
  LogOptions log{"proxy", "info", "plain"};
  std::string run_dir = "/run/heddle";
  bool stay_when_replaced = false;  // after the agent's drain: hold nothing, end on a signal only
  unsigned workers = 0;             // 0: one per core
  std::string destination_address = "heddle-control.heddle.svc.cluster.local:8086";
  std::string trust_anchors = "/etc/heddle/trust-anchors.pem";
  std::string trust_domain = "cluster.local";
  std::string control_namespace = "heddle";
  std::string node_name;
  SocketAddress admin_address;
  std::string access_log = "off";
  uid_t uid = 65534;
  bool seccomp = true;
  std::uint64_t max_memory = 0;  // bytes; 0: the cgroup's
  Settings settings;
};

// Nothing: the program ends with `exit_code` (0 after --help, 2 after a mistake).
std::optional<ProgramOptions> parse_options(int argc, char** argv, int& exit_code);

}  // namespace heddle::proxy
