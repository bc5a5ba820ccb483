// SPDX-License-Identifier: Apache-2.0
#include "agent/interception.h"

namespace heddle::agent {

Result<> judge_probe(const std::vector<HookProbe>& hooks) {
  std::string reasons;
  for (const auto& hook : hooks) {
    if (hook.usable) continue;
    if (!reasons.empty()) reasons += "; ";
    reasons += hook.hook + ": " + hook.reason;
  }
  if (hooks.empty()) reasons = "no hook could be probed";
  if (reasons.empty()) return {};
  return make_error(Errc::unsupported, reasons);
}

Result<ModeChoice> choose_mode(InterceptionChoice node, InterceptionChoice pod, const Result<>& ebpf,
                               const Result<>& iptables) {
  const bool by_pod = pod != InterceptionChoice::automatic;
  const InterceptionChoice wanted = by_pod ? pod : node;
  const std::string who = by_pod ? "heddle.io/interception" : "--interception";
  if (wanted == InterceptionChoice::ebpf) {
    if (ebpf) return ModeChoice{Mode::ebpf, who + " is ebpf"};
    return make_error(Errc::unsupported,
                      who + " is ebpf, which does not work here: " + ebpf.error().message());
  }
  if (wanted == InterceptionChoice::iptables) {
    if (iptables) return ModeChoice{Mode::iptables, who + " is iptables"};
    return make_error(Errc::unsupported,
                      who + " is iptables, which does not work here: " + iptables.error().message());
  }
  if (ebpf) return ModeChoice{Mode::ebpf, "every hook loads and attaches"};
  if (iptables) return ModeChoice{Mode::iptables, "eBPF does not work here: " + ebpf.error().message()};
  return make_error(Errc::unsupported, "neither interception works here; eBPF: " + ebpf.error().message() +
                                           "; iptables: " + iptables.error().message());
}

InterceptedPod intercepted(const Sandbox& sandbox) {
  const PodSettings& settings = sandbox.spec.settings;
  InterceptedPod pod;
  pod.id = sandbox.pod_id;
  pod.netns_cookie = sandbox.facts.netns_cookie;
  pod.addresses = sandbox.spec.addresses;
  pod.outbound_port = sandbox.outbound_port;
  pod.inbound_port = sandbox.inbound_port;
  pod.skip_outbound_ports = settings.skip_outbound_ports;
  pod.skip_inbound_ports = settings.skip_inbound_ports;
  pod.skip_cidrs = settings.skip_subnets;
  pod.fail_open = settings.fail_open;
  pod.client_source = settings.client_source;
  return pod;
}

Result<> Interception::open_datapath() {
  const auto found = options_.find_cgroups(options_.datapath);
  cgroups_missing_ = !found;
  if (!found) return make_error(Errc::unsupported, found.error().message());
  hooks_ = Datapath::probe();
  if (auto judged = judge_probe(hooks_); !judged) return judged.error();
  auto opened = Datapath::open(options_.datapath);
  if (!opened) return opened.error();
  datapath_ = std::move(*opened);
  return {};
}

void Interception::try_datapath() {
  if (ebpf_tried_) return;
  ebpf_tried_ = true;
  ebpf_ = open_datapath();
}

Result<> Interception::start(Options options, std::uint32_t mark, bool ebpf_leftovers) {
  options_ = std::move(options);
  mark_ = mark;
  if (options_.choice != InterceptionChoice::iptables || ebpf_leftovers) try_datapath();
  return choose_for_node();
}

Result<> Interception::choose_for_node() {
  Result<> iptables = make_error(Errc::unsupported, "not probed");
  if (options_.choice == InterceptionChoice::iptables ||
      (options_.choice != InterceptionChoice::ebpf && !ebpf_)) {
    if (auto made = redirect(); made) {
      iptables = {};
    } else {
      iptables = made.error();
    }
  }
  auto chosen = choose_mode(options_.choice, InterceptionChoice::automatic, ebpf_, iptables);
  if (!chosen) return chosen.error();
  node_choice_ = std::move(*chosen);
  return {};
}

Result<ModeChoice> Interception::choose(InterceptionChoice pod) {
  if (cgroups_missing_) {
    ebpf_tried_ = false;
    try_datapath();
    if (datapath_ && options_.choice != InterceptionChoice::iptables) {
      if (auto chosen = choose_for_node(); !chosen) return chosen.error();
      spdlog::info("interception mode={} reason=\"{}\" note=\"the pods' cgroup was not there before\"",
                   to_string(node_choice_.mode), node_choice_.reason);
    }
  }
  if (pod == InterceptionChoice::automatic) return node_choice_;
  Result<> iptables{};
  if (pod == InterceptionChoice::ebpf) try_datapath();
  if (pod == InterceptionChoice::iptables) {
    if (auto made = redirect(); !made) iptables = made.error();
  }
  return choose_mode(options_.choice, pod, ebpf_, iptables);
}

void Interception::retire_datapath() {
  if (!datapath_) return;
  if (auto gone = datapath_->uninstall(); !gone) {
    spdlog::warn("cannot take the eBPF programs down error=\"{}\" next=\"heddle-agent --uninstall\"",
                 gone.error().message());
  }
  datapath_.reset();
  ebpf_tried_ = false;  // a pod may still ask for it
  ebpf_ = make_error(Errc::unsupported, "not probed");
}

Result<> Interception::set_node_addresses(std::vector<IpAddress> addresses) {
  options_.datapath.node_addresses = std::move(addresses);
  if (redirect_ && *redirect_) (*redirect_)->set_node_addresses(options_.datapath.node_addresses);
  return datapath_ ? datapath_->set_node_addresses(options_.datapath.node_addresses) : Result<>();
}

bool Interception::lets_the_node_in(Mode mode) const {
  return mode == Mode::iptables || options_.datapath.probe_cgroup.empty();
}

Result<Redirect*> Interception::redirect() {
  if (!redirect_) {
    Redirect::Options options;
    options.mark = mark_;
    options.mesh_cgroup = options_.mesh_cgroup_of_rules;
    options.only = options_.iptables_backend;
    // With eBPF the kubelet's probes are told by its cgroup; rules know its address only.
    options.node_addresses = options_.datapath.node_addresses;
    redirect_.emplace(Redirect::probe(options));
  }
  if (!*redirect_) return redirect_->error();
  return &**redirect_;
}

std::string Interception::redirect_status() const {
  if (!redirect_) return "not probed";
  if (!*redirect_) return redirect_->error().message();
  return to_string((*redirect_)->backend());
}

}  // namespace heddle::agent
