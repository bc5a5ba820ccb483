// SPDX-License-Identifier: Apache-2.0
#include "agent/fallback/redirect.h"

#include <chrono>

#include "agent/fallback/backends.h"
#include "agent/fallback/netns_child.h"
#include "agent/fallback/rules.h"
#include "agent/fallback/ruleset_generation.h"

namespace heddle::agent {
namespace {

constexpr std::chrono::seconds limit{15};

RedirectRules rules_for(const InterceptedPod& pod, const Redirect::Options& options, bool by_cgroup) {
  RedirectRules rules;
  rules.pod = pod;
  rules.mark = options.mark;
  rules.node_addresses = options.node_addresses;
  if (by_cgroup) rules.mesh_cgroup = options.mesh_cgroup.substr(options.mesh_cgroup.find_first_not_of('/'));
  return rules;
}

// A set of rules with one of every kind.
InterceptedPod example_pod() {
  InterceptedPod pod;
  pod.outbound_port = 4140;
  pod.inbound_port = 4143;
  pod.skip_outbound_ports = {{25, 25}, {9000, 9010}};
  pod.skip_inbound_ports = {{22, 22}};
  pod.skip_cidrs = {Cidr{IpAddress::v4(0x0a000000), 104}, Cidr{IpAddress({0xfd}), 8}};
  return pod;
}

Result<> try_in_fresh_netns(RedirectBackend backend, const RedirectRules& rules) {
  const auto tried = in_netns_child(
      -1,
      [&]() -> Result<std::string> {
        if (auto ok = install_rules(backend, rules); !ok) return ok.error();
        if (auto ok = verify_rules(backend, rules); !ok) return ok.error();
        return std::string();
      },
      limit);
  return tried ? Result<>{} : Result<>(tried.error());
}

// In the order in which they are tried.
constexpr RedirectBackend every_backend[] = {RedirectBackend::nftables, RedirectBackend::iptables_nft,
                                             RedirectBackend::iptables_legacy};

}  // namespace

const char* to_string(RedirectBackend backend) {
  switch (backend) {
    case RedirectBackend::nftables:
      return "nftables";
    case RedirectBackend::iptables_nft:
      return "iptables-nft";
    case RedirectBackend::iptables_legacy:
      return "iptables-legacy";
  }
  return "unknown";
}

std::optional<RedirectBackend> redirect_backend(std::string_view name) {
  for (const auto backend : every_backend) {
    if (name == to_string(backend)) return backend;
  }
  return std::nullopt;
}

Result<Redirect> Redirect::probe(const Options& options, RedirectBackend backend) {
  std::string reasons;
  for (const bool by_cgroup : {true, false}) {
    if (by_cgroup && !can_match_cgroup(options.mesh_cgroup)) continue;
    if (!by_cgroup && options.mark == 0) continue;
    const auto tried = try_in_fresh_netns(backend, rules_for(example_pod(), options, by_cgroup));
    if (tried) return Redirect(options, backend, by_cgroup);
    reasons += std::string(reasons.empty() ? "" : "; ") +
               (by_cgroup ? "with cgroup match: " : "with mark: ") + tried.error().message();
  }
  if (reasons.empty()) reasons = "neither a mark nor a cgroup to tell the mesh's sockets by";
  return make_error(Errc::unsupported, std::string(to_string(backend)) + ": " + reasons);
}

Result<Redirect> Redirect::probe(const Options& options) {
  if (options.only) return probe(options, *options.only);
  std::string reasons;
  for (const auto backend : every_backend) {
    auto tried = probe(options, backend);
    if (tried) return tried;
    reasons += (reasons.empty() ? "" : "; ") + tried.error().message();
  }
  return make_error(Errc::unsupported, reasons);
}

Result<> Redirect::install(const InterceptedPod& pod, int netns_fd) {
  if (pod.outbound_port == 0 || pod.inbound_port == 0) {
    return make_error(Errc::invalid_argument, "the pod's outbound and inbound ports must be set");
  }
  const auto rules = rules_for(pod, options_, by_cgroup_);
  const auto done = in_netns_child(
      netns_fd,
      [&]() -> Result<std::string> {
        if (auto ok = install_rules(backend_, rules); !ok) return ok.error();
        return std::string();
      },
      limit);
  return done ? Result<>{} : Result<>(done.error());
}

Result<> Redirect::remove(int netns_fd) {
  const auto done = in_netns_child(
      netns_fd,
      []() -> Result<std::string> {
        if (auto ok = remove_rules(); !ok) return ok.error();
        return std::string();
      },
      limit);
  return done ? Result<>{} : Result<>(done.error());
}

Result<std::uint32_t> Redirect::stamp(int netns_fd) const {
  if (backend_ == RedirectBackend::iptables_legacy)
    return make_error(Errc::unsupported, "iptables-legacy does not count its changes");
  return ruleset_generation(netns_fd);
}

Result<> Redirect::verify(const InterceptedPod& pod, int netns_fd) const {
  const auto rules = rules_for(pod, options_, by_cgroup_);
  const auto done = in_netns_child(
      netns_fd,
      [&]() -> Result<std::string> {
        if (auto ok = verify_rules(backend_, rules); !ok) return ok.error();
        return std::string();
      },
      limit);
  return done ? Result<>{} : Result<>(done.error());
}

}  // namespace heddle::agent
