// SPDX-License-Identifier: Apache-2.0
#include "proxy/program/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>

namespace heddle::proxy {
namespace {

std::string env_name(std::string flag) {
  std::transform(flag.begin(), flag.end(), flag.begin(),
                 [](unsigned char c) { return c == '-' ? '_' : static_cast<char>(std::toupper(c)); });
  return "HEDDLE_" + flag;
}

template <class T>
CLI::Option* flag(CLI::App& app, const std::string& name, T& value, const std::string& help) {
  return app.add_option("--" + name, value, help)->envname(env_name(name))->capture_default_str();
}

// "300ms", "2s", "5m", "1h", or seconds.
void duration(CLI::App& app, const std::string& name, std::chrono::milliseconds& value,
              const std::string& help, double least = 0.001) {
  static const std::map<std::string, double> units = {{"ms", 0.001}, {"s", 1}, {"m", 60}, {"h", 3600}};
  app.add_option_function<double>(
         "--" + name,
         [&value](const double& seconds) { value = std::chrono::milliseconds(std::llround(seconds * 1000)); },
         help)
      ->envname(env_name(name))
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::CASE_SENSITIVE, "DURATION"))
      ->check(CLI::Range(least, 7.0 * 86400))
      ->default_str(std::to_string(value.count()) + "ms");
}

// Of pods whose annotations do not say otherwise.
void add_limit_flags(CLI::App& app, PodLimits& limits) {
  constexpr std::uint32_t most = 1'000'000'000;
  flag(app, "max-connections-per-pod", limits.connections, "Further ones are reset")
      ->check(CLI::Range(std::uint32_t{1}, most));
  flag(app, "max-requests-per-pod", limits.requests, "At a time; further ones are answered 503")
      ->check(CLI::Range(std::uint32_t{1}, most));
  flag(app, "max-buffered-bytes-per-pod", limits.buffered_bytes,
       "Held for slow readers of one pod's connections")
      ->check(CLI::Range(std::uint64_t{64 * 1024}, std::uint64_t{1} << 40));
  flag(app, "max-accepts-per-second", limits.accepts_per_second,
       "New connections on each of a pod's listeners; further ones wait in the kernel's queue")
      ->check(CLI::Range(std::uint32_t{1}, most));
  flag(app, "cpu-weight", limits.cpu_weight, "Of a pod, against others that keep the same worker busy")
      ->check(CLI::Range(1, 10'000));
}

void add_flags(CLI::App& app, ProgramOptions& o, std::string& admin) {
  flag(app, "run-dir", o.run_dir, "Folder of the node's sockets");
  flag(app, "workers", o.workers, "Worker threads; 0: one per core")->check(CLI::Range(0, 512));
  flag(app, "destination-address", o.destination_address, "Control's Destination service, HOST:PORT");
  flag(app, "trust-anchors", o.trust_anchors, "PEM file: the roots that peers and control are verified with");
  flag(app, "trust-domain", o.trust_domain, "Last part of every identity");
  flag(app, "control-namespace", o.control_namespace, "Namespace in every identity");
  flag(app, "node-name", o.node_name, "This node's name, told to discovery (default: the host name)");
  flag(app, "admin-address", admin, "HTTP /metrics, /ready, /live");
  flag(app, "access-log", o.access_log, "One line per request or connection on standard output")
      ->check(CLI::IsMember({"off", "apache", "json"}));
  flag(app, "uid", o.uid, "User and group to become when started as root")->check(CLI::Range(1, 2147483647));
  flag(app, "seccomp", o.seccomp, "Restrict system calls (true, false)");
  duration(app, "shutdown-grace", o.settings.drain_grace, "How long connections may go on after SIGTERM");
  flag(app, "stay-when-replaced", o.stay_when_replaced,
       "Drained for a newer proxy, wait for SIGTERM instead of ending: who starts again what ends must not "
       "bring this one back (true, false)");
  duration(app, "outbound-connect-timeout", o.settings.outbound_connect_timeout,
           "Of connections to endpoints");
  duration(app, "inbound-connect-timeout", o.settings.inbound_connect_timeout,
           "Of connections to the pod's app");
  duration(app, "detect-timeout", o.settings.detect_timeout,
           "Nobody spoke for so long: the connection is opaque");
  duration(app, "half-closed-timeout", o.settings.half_closed_timeout,
           "One side ended and nothing moved for so long: the connection is reset");
  duration(app, "http-head-timeout", o.settings.http_head_timeout,
           "For a client to send a request's head, from its first byte; 0: none", 0);
  duration(app, "http-idle-timeout", o.settings.http_idle_timeout,
           "A client's HTTP connection without a request for so long is closed; 0: never", 0);
  duration(app, "http-stall-timeout", o.settings.http_stall_timeout,
           "HTTP content waits, and its receiver takes none of it for so long: it is broken off; 0: never",
           0);
  add_limit_flags(app, o.settings.pod_limits);
  app.add_option("--max-memory", o.max_memory,
                 "Resident bytes (512MiB) near which the pod that uses most is shed; 0: the cgroup's limit")
      ->envname(env_name("max-memory"))
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  flag(app, "log-level", o.log.level, "trace, debug, info, warn, error, off");
  flag(app, "log-format", o.log.format, "plain or json");
}

}  // namespace

std::optional<ProgramOptions> parse_options(int argc, char** argv, int& exit_code) {
  ProgramOptions options;
  std::string admin = "0.0.0.0:4191";
  CLI::App app("heddle-proxy: the mesh proxy of one node", "heddle-proxy");
  app.set_version_flag("--version", "heddle-proxy " HEDDLE_VERSION);
  app.footer(
      "Example: heddle-proxy --destination-address 10.0.0.1:8086 --trust-anchors /etc/heddle/anchors.pem");
  add_flags(app, options, admin);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    exit_code = app.exit(error) == 0 ? 0 : 2;
    return std::nullopt;
  }
  auto address = SocketAddress::parse(admin);
  if (!address) {
    std::cerr << "--admin-address: " << address.error().message() << "\n";
    exit_code = 2;
    return std::nullopt;
  }
  options.admin_address = *address;
  if (options.workers == 0) options.workers = std::max(1u, std::thread::hardware_concurrency());
  return options;
}

}  // namespace heddle::proxy
