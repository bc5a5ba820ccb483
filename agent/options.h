// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/fallback/redirect.h"
#include "agent/pods/annotations.h"
#include "base/log.h"
#include "base/result.h"

namespace heddle::agent {

struct Options {
  LogOptions log{"agent"};
  std::string node_name;
  std::string run_dir = "/run/heddle";
  std::string pin_folder = "/sys/fs/bpf/heddle";
  std::string pods_cgroup = "auto";
  std::string probe_cgroup = "auto";  // "none" or empty: none
  std::vector<std::string> node_ips;
  InterceptionChoice interception = InterceptionChoice::automatic;
  std::optional<RedirectBackend>
      iptables_backend;  // the only one to use for nat rules; empty: the first that works
  std::string source = "none";
  std::string kubeconfig;  // with source "kubernetes"; empty: as kubectl finds one, else a pod's files
  std::string context;
  bool insecure_skip_tls_verify = false;
  std::string identity_address;
  std::string trust_anchors;
  std::string token_file;
  std::string token_audience = "identity.heddle.io";
  bool pod_tokens = false;  // have tokens of pods made, and send one beside the agent's own
  std::string trust_domain = "cluster.local";
  std::string control_namespace = "heddle";
  std::vector<std::string> excluded_namespaces;
  std::string daemonset;  // empty: none
  std::string http_address = "0.0.0.0:4195";
  std::uint32_t proxy_uid = 65534;
  std::uint32_t drain_grace_seconds = 120;
  std::uint32_t release_settle_seconds = 2;
  bool inject_unknown_pods = false;
  bool uninstall = false;
  bool probe = false;  // print what this kernel can do, and exit
};

// Flags and HEDDLE_* variables. Without a value: the process shall exit with `exit_code` (help, version,
// usage error), and what there is to say was said.
std::optional<Options> parse_options(int argc, char** argv, int& exit_code);

}  // namespace heddle::agent
