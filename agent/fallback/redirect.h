// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "agent/datapath/datapath.h"

namespace heddle::agent {

// The interception for kernels without the hooks: nat REDIRECT inside the pod's netns, tried as nftables,
// then iptables-nft, then iptables-legacy. All calls are made on the agent's main thread; they enter the
// netns in a child process, so that a failure cannot leave the agent inside.
enum class RedirectBackend { nftables, iptables_nft, iptables_legacy };
const char* to_string(RedirectBackend backend);
// The inverse; empty for any other text.
std::optional<RedirectBackend> redirect_backend(std::string_view name);

class Redirect {
 public:
  struct Options {
    // SO_MARK of mesh sockets, exempt from redirection. Random per node and secret: a pod with CAP_NET_RAW
    // can set any mark but has to guess this one.
    std::uint32_t mark = 0;
    // Path below the cgroup2 mount of the agent's cgroup; where `socket cgroupv2` matches work the mark is
    // not trusted alone. Empty: unknown, or not what rules would mean by it.
    std::string mesh_cgroup;
    // Sources whose connections are not redirected (kubelet's probes; no hook tells them apart here).
    std::vector<IpAddress> node_addresses;
    // The only backend that probe() may choose. Empty: any.
    std::optional<RedirectBackend> only;
  };

  // The first backend whose rules really load in a fresh netns, each tried with the match on the cgroup
  // first; Errc::unsupported lists why each failed.
  static Result<Redirect> probe(const Options& options);
  // The same for one backend.
  static Result<Redirect> probe(const Options& options, RedirectBackend backend);

  // Programs the rules, in one transaction per address family: idempotent, replaces an earlier set, whichever
  // backend made it. A failure leaves no half of a set where there was none.
  Result<> install(const InterceptedPod& pod, int netns_fd);
  // Removes every rule, chain and table that install() made, by any backend. Idempotent.
  Result<> remove(int netns_fd);
  // CHECK.
  Result<> verify(const InterceptedPod& pod, int netns_fd) const;
  // For the rules that are installed and verified from now on: those of before lack an address that is new.
  void set_node_addresses(std::vector<IpAddress> addresses) {
    options_.node_addresses = std::move(addresses);
  }
  // A number that is another one after any change of the netns' rules. Errc::unsupported with
  // iptables-legacy, whose rules can only be listed.
  Result<std::uint32_t> stamp(int netns_fd) const;
  RedirectBackend backend() const { return backend_; }
  // Whether mesh sockets are told by their cgroup, which no pod can forge; otherwise by the mark.
  bool by_cgroup() const { return by_cgroup_; }

 private:
  Redirect(Options options, RedirectBackend backend, bool by_cgroup)
      : options_(std::move(options)), backend_(backend), by_cgroup_(by_cgroup) {}
  Options options_;
  RedirectBackend backend_;
  bool by_cgroup_;
};

}  // namespace heddle::agent
