// SPDX-License-Identifier: Apache-2.0
#include "control/settings.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#ifndef HEDDLE_VERSION
#error "HEDDLE_VERSION is defined by control/CMakeLists.txt"
#endif

namespace heddle::control {
namespace {

// Parts of DNS names that certificates are made for: what is odd here must not reach a certificate.
std::string check_dns_name(const std::string& text) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  };
  const bool ok = !text.empty() && text.size() <= 200 && std::ranges::all_of(text, allowed) &&
                  text.front() != '.' && text.back() != '.' && text.find("..") == std::string::npos;
  return ok ? std::string() : "'" + text + "' is not a DNS name in lower case";
}

std::string env_name(std::string flag) {
  std::ranges::transform(flag, flag.begin(), [](char c) {
    return c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  });
  return "HEDDLE_" + flag;
}

CLI::Option* flag(CLI::App& app, const std::string& name, std::string& value, const std::string& help) {
  return app.add_option("--" + name, value, help)->envname(env_name(name))->capture_default_str();
}

// "24h", "90m", "20s", or seconds.
CLI::Option* duration(CLI::App& app, const std::string& name, std::chrono::seconds& value,
                      const std::string& help, long least = 0) {
  static const std::map<std::string, long> units = {{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
  constexpr long ten_years = 3650L * 86400;
  return app
      .add_option_function<long>(
          "--" + name, [&value](const long& s) { value = std::chrono::seconds(s); }, help)
      ->envname(env_name(name))
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::CASE_SENSITIVE).description(""))
      ->check(CLI::Range(least, ten_years).description(""))
      ->type_name("DURATION")
      ->default_str(std::to_string(value.count()) + "s");
}

void add_flags(CLI::App& app, Settings& s) {
  flag(
      app, "source", s.source,
      "Kubernetes objects: kubernetes, a cluster's API server, or folder:PATH, YAML or JSON files watched by "
      "inotify")
      ->required();
  flag(app, "kubeconfig", s.kubeconfig, "Of --source kubernetes; else $KUBECONFIG, else what a pod finds");
  flag(app, "context", s.context, "Of the kubeconfig; else its current-context");
  app.add_flag("--insecure-skip-tls-verify", s.insecure_skip_tls_verify,
               "Accept a kubeconfig that says the same: anybody can then pose as the API server")
      ->envname(env_name("insecure-skip-tls-verify"));
  flag(app, "state-dir", s.state_dir, "Folder of the certificate authority; made on first start");
  flag(app, "identity-address", s.identity_address, "Identity service (gRPC over TLS)");
  flag(app, "destination-address", s.destination_address, "Destination service (gRPC over TLS)");
  flag(app, "admin-address", s.admin_address, "HTTP /metrics, /ready, /live");
  flag(app, "trust-domain", s.trust_domain, "Last part of every identity")->check(check_dns_name);
  flag(app, "cluster-domain", s.cluster_domain, "Last part of services' names")->check(check_dns_name);
  flag(app, "control-namespace", s.control_namespace, "Namespace in every identity")->check(check_dns_name);
  flag(app, "webhook-address", s.webhook_address,
       "Injector webhook (HTTPS), as :8443; of --source kubernetes. Empty: none");
  flag(app, "webhook-tls-secret", s.webhook_tls_secret,
       "Secret of type kubernetes.io/tls in the control namespace for the webhook; caBundle is then left to "
       "its "
       "issuer. Empty: control makes its own");
  flag(app, "node-tokens", s.node_tokens,
       "Folder of NODE.token files: the secrets agents prove their node with");
  flag(app, "issuer-secret", s.issuer_secret,
       "Secret of --control-namespace that holds the issuer (kubernetes.io/tls or linkerd.io/tls); made if "
       "there "
       "is none; empty: the authority in --state-dir");
  flag(app, "trust-anchors-configmap", s.trust_anchors_configmap,
       "ConfigMap of --control-namespace with the roots in ca-bundle.crt, beside --issuer-secret")
      ->check(check_dns_name);
  flag(app, "token-audience", s.token_audience,
       "Of --source kubernetes without --node-tokens: what the tokens of pods and agents must be made for")
      ->check(check_dns_name);
  app.add_flag("--accept-pod-tokens", s.accept_pod_tokens,
               "Certify a pod that sends its own token without an agent's beside it, as a sidecar does")
      ->envname(env_name("accept-pod-tokens"));
  flag(app, "identity-issuer-certificate", s.issuer_certificate, "PEM file: issuer, then its intermediates");
  flag(app, "identity-issuer-key", s.issuer_key, "PEM file: the issuer's unencrypted key");
  flag(app, "trust-anchors", s.trust_anchors, "PEM file: the roots; these three together or none of them");
  duration(app, "issuance-lifetime", s.issuance_lifetime, "Life of workloads' certificates", 1);
  duration(app, "clock-skew-allowance", s.clock_skew_allowance, "Added to both ends of a certificate's life");
  duration(app, "shutdown-grace", s.shutdown_grace, "How long running calls may take to end");
  flag(app, "log-level", s.log_level, "trace, debug, info, warn, error, off");
  flag(app, "log-format", s.log_format, "plain or json");
}

}  // namespace

CommandLine read_command_line(int argc, char** argv) {
  CommandLine out;
  CLI::App app("heddle-control: discovery (Destination) and certificates (Identity) for a mesh",
               "heddle-control");
  app.set_version_flag("--version", "heddle-control " HEDDLE_VERSION);
  app.footer(
      "Example: heddle-control --source folder:/etc/heddle/objects --state-dir /var/lib/heddle-control "
      "--node-tokens /etc/heddle/tokens");
  add_flags(app, out.settings);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    out.exit_code = app.exit(error) == 0 ? 0 : 2;
  }
  return out;
}

}  // namespace heddle::control
