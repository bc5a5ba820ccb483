// SPDX-License-Identifier: Apache-2.0
#include "agent/options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>

#include "agent/version.h"

namespace heddle::agent {
namespace {

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "node";
}

// "a,b" -> {"a", "b"}; none of them empty.
std::vector<std::string> names_of(std::string_view list) {
  std::vector<std::string> out;
  while (!list.empty()) {
    const auto comma = list.find(',');
    if (comma != 0) out.emplace_back(list.substr(0, comma));
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
  }
  return out;
}

template <class T>
void flag(CLI::App& app, const std::string& name, T& value, const std::string& text) {
  std::string variable = "HEDDLE_";
  for (const char c : name)
    variable += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  auto* option = app.add_option("--" + name, value, text)->envname(variable)->capture_default_str();
  // A later flag wins, so that wrappers can be added to.
  if constexpr (!std::is_same_v<T, std::vector<std::string>>) option->take_last();
}

}  // namespace

std::optional<Options> parse_options(int argc, char** argv, int& exit_code) {
  Options options;
  options.node_name = host_name();
  std::string interception = "auto";
  std::string iptables_backend = "auto";
  std::string default_inject = "disabled";
  std::string excluded_namespaces = "kube-system";
  CLI::App app{"heddle-agent: enrols the pods of this node into the mesh and brokers their sockets.",
               "heddle-agent"};
  app.set_version_flag("--version", std::string("heddle-agent ") + agent::version);
  flag(app, "log-level", options.log.level, "trace, debug, info, warn, error or off");
  flag(app, "log-format", options.log.format, "plain or json");
  flag(app, "node-name", options.node_name, "name of this node in Kubernetes");
  flag(app, "run-dir", options.run_dir, "folder of sockets and state");
  flag(app, "pin-folder", options.pin_folder, "folder on a bpffs for programs and maps");
  flag(app, "pods-cgroup", options.pods_cgroup,
       "cgroup v2 folder that all pods are in; auto: found by the names that the kubelet gives");
  flag(app, "probe-cgroup", options.probe_cgroup,
       "cgroup v2 folder of the kubelet, whose probes pass; auto: found by its process; none");
  flag(app, "node-ip", options.node_ips, "address of this node, repeatable (default: all found)");
  flag(app, "interception", interception, "auto, ebpf or iptables");
  flag(app, "iptables-backend", iptables_backend,
       "what nat rules are made with: nftables, iptables-nft, iptables-legacy; auto: the first that works");
  flag(app, "source", options.source, "where Kubernetes' objects come from: kubernetes, folder:PATH or none");
  flag(app, "kubeconfig", options.kubeconfig,
       "with --source kubernetes: how the API server is reached (default: KUBECONFIG, else a pod's files)");
  flag(app, "context", options.context, "of the kubeconfig (default: its current-context)");
  app.add_flag("--insecure-skip-tls-verify", options.insecure_skip_tls_verify,
               "do not verify the API server's certificate");
  flag(app, "identity-address", options.identity_address, "HOST:PORT of heddle-control's Identity service");
  flag(app, "trust-anchors", options.trust_anchors, "PEM file that control's certificate is checked against");
  flag(app, "token-file", options.token_file, "file with the token that proves which node this is");
  flag(app, "token-audience", options.token_audience,
       "with --source kubernetes: audience of the pods' tokens, as control demands it");
  app.add_flag("--pod-tokens", options.pod_tokens,
               "with --source kubernetes: have a token of the pod made (TokenRequest) for each certificate "
               "and send "
               "it beside the agent's own; its role must then allow create of serviceaccounts/token")
      ->envname("HEDDLE_POD_TOKENS");
  flag(app, "trust-domain", options.trust_domain, "last part of every identity");
  flag(app, "control-namespace", options.control_namespace, "namespace of the control plane");
  flag(app, "excluded-namespaces", excluded_namespaces,
       "namespaces whose pods are never meshed, separated by commas");
  flag(app, "daemonset", options.daemonset,
       "name of the DaemonSet that runs this agent: when it is deleted, heddle leaves the node; empty: none");
  flag(app, "http-address", options.http_address, "IP:PORT of /live, /ready and /metrics; empty: none");
  flag(app, "proxy-uid", options.proxy_uid, "the only uid besides 0 that may connect as a proxy");
  flag(app, "drain-grace", options.drain_grace_seconds,
       "seconds an older proxy, and a pod that is released, get to finish their connections");
  flag(app, "release-settle", options.release_settle_seconds,
       "seconds for which a pod that is released still answers peers that have not heard of it");
  flag(app, "default-inject", default_inject, "enabled or disabled: for pods that the source does not know");
  app.add_flag("--probe", options.probe, "print as JSON which ways of interception work here, and exit");
  app.add_flag("--uninstall", options.uninstall,
               "take every redirection, program and pin of this node down, and exit");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit_code = app.exit(error) == 0 ? 0 : 2;
    return std::nullopt;
  }
  exit_code = 2;
  if (interception == "ebpf") {
    options.interception = InterceptionChoice::ebpf;
  } else if (interception == "iptables") {
    options.interception = InterceptionChoice::iptables;
  } else if (interception != "auto") {
    std::fprintf(stderr, "--interception %s: use auto, ebpf or iptables\n", interception.c_str());
    return std::nullopt;
  }
  options.iptables_backend = redirect_backend(iptables_backend);
  if (!options.iptables_backend && iptables_backend != "auto") {
    std::fprintf(stderr, "--iptables-backend %s: use auto, nftables, iptables-nft or iptables-legacy\n",
                 iptables_backend.c_str());
    return std::nullopt;
  }
  if (default_inject != "enabled" && default_inject != "disabled") {
    std::fprintf(stderr, "--default-inject %s: use enabled or disabled\n", default_inject.c_str());
    return std::nullopt;
  }
  options.excluded_namespaces = names_of(excluded_namespaces);
  options.inject_unknown_pods = default_inject == "enabled";
  if (!options.daemonset.empty() && options.source != "kubernetes") {
    std::fprintf(stderr, "--daemonset needs --source kubernetes\n");
    return std::nullopt;
  }
  if (!options.identity_address.empty() && (options.trust_anchors.empty() || options.token_file.empty())) {
    std::fprintf(stderr, "--identity-address needs --trust-anchors and --token-file\n");
    return std::nullopt;
  }
  exit_code = 0;
  return options;
}

}  // namespace heddle::agent
