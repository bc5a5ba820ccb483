// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"

namespace heddle::control {

// heddle-control's command line; each flag --foo-bar is also the environment variable HEDDLE_FOO_BAR.
struct Settings {
  std::string source;
  std::string kubeconfig;
  std::string context;
  bool insecure_skip_tls_verify = false;
  std::string state_dir = "/var/lib/heddle-control";
  std::string identity_address = "0.0.0.0:8080";
  std::string destination_address = "0.0.0.0:8086";
  std::string admin_address = "0.0.0.0:9990";
  std::string trust_domain = "cluster.local";
  std::string cluster_domain = "cluster.local";
  std::string control_namespace = "heddle";
  std::string webhook_address;     // empty: no injector
  std::string webhook_tls_secret;  // empty: control makes its own certificate
  std::string node_tokens;
  std::string issuer_secret;
  std::string trust_anchors_configmap = "heddle-trust-anchors";
  std::string token_audience = "identity.heddle.io";
  bool accept_pod_tokens = false;
  std::string issuer_certificate;
  std::string issuer_key;
  std::string trust_anchors;
  std::chrono::seconds issuance_lifetime = std::chrono::hours(24);
  std::chrono::seconds clock_skew_allowance = std::chrono::seconds(20);
  std::chrono::seconds shutdown_grace = std::chrono::seconds(5);
  std::string log_level = "info";
  std::string log_format = "plain";
};

struct CommandLine {
  Settings settings;
  int exit_code = -1;  // not negative: leave now with it, everything has been said
};
CommandLine read_command_line(int argc, char** argv);

}  // namespace heddle::control
