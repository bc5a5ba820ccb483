// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/datapath/datapath.h"
#include "agent/fallback/redirect.h"
#include "agent/plan.h"
#include "agent/registry.h"
#include "base/result.h"

namespace heddle::agent {

struct ModeChoice {
  Mode mode = Mode::ebpf;
  std::string reason;
};

// The pure half of the choice: what the node was told, what the pod asks for, what works here.
// Errc::unsupported when what was asked for explicitly does not work: a pod is never silently bypassed.
Result<ModeChoice> choose_mode(InterceptionChoice node, InterceptionChoice pod, const Result<>& ebpf,
                               const Result<>& iptables);

// Why the hooks do not suffice, or success.
Result<> judge_probe(const std::vector<HookProbe>& hooks);

InterceptedPod intercepted(const Sandbox& sandbox);

// Owns both ways of interception and knows which of them work on this node. Main thread.
class Interception {
 public:
  struct Options {
    Datapath::Options datapath;
    InterceptionChoice choice = InterceptionChoice::automatic;
    // Sets the cgroups of `datapath`. An error makes eBPF unusable, and is asked about again with each pod:
    // an agent may be there before the kubelet and its pods' cgroup.
    std::function<Result<>(Datapath::Options&)> find_cgroups;
    std::string mesh_cgroup_of_rules;                 // as Redirect::Options has it
    std::optional<RedirectBackend> iptables_backend;  // the only one to use; empty: any
  };
  // Probes and opens what the choice needs. With `ebpf_leftovers` eBPF is opened even if iptables was chosen,
  // so that pods of an earlier run can be moved. Errc::unsupported when nothing works.
  Result<> start(Options options, std::uint32_t mark, bool ebpf_leftovers);
  // eBPF was only opened for leftovers, and they are gone: takes its programs and pins away.
  void retire_datapath();

  // What a pod gets that asks for `pod`.
  Result<ModeChoice> choose(InterceptionChoice pod);
  // nullptr when eBPF is unusable or not wanted. Leftovers of it can be cleaned while it is open.
  Datapath* datapath() { return datapath_.get(); }
  const Datapath* datapath() const { return datapath_.get(); }
  // Probes on first use.
  Result<Redirect*> redirect();
  std::uint32_t mark() const { return mark_; }
  // The node got or lost addresses. Rules of pods that are enrolled already keep those of before.
  Result<> set_node_addresses(std::vector<IpAddress> addresses);
  // Whether what comes from the node's own addresses reaches such pods past the proxy: the kubelet's probes
  // have to, and cannot be told from the node's other programs by rules, nor by eBPF without the kubelet's
  // cgroup.
  bool lets_the_node_in(Mode mode) const;

  const std::vector<HookProbe>& hooks() const { return hooks_; }
  const ModeChoice& node_choice() const { return node_choice_; }
  std::string redirect_status() const;

 private:
  Result<> open_datapath();
  void try_datapath();
  Result<> choose_for_node();

  Options options_;
  std::uint32_t mark_ = 0;
  std::vector<HookProbe> hooks_;
  Result<> ebpf_ = make_error(Errc::unsupported, "not probed");
  bool ebpf_tried_ = false;
  bool cgroups_missing_ = false;
  std::unique_ptr<Datapath> datapath_;
  std::optional<Result<Redirect>> redirect_;
  ModeChoice node_choice_;
};

}  // namespace heddle::agent
