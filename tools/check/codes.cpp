// SPDX-License-Identifier: Apache-2.0
#include "tools/check/codes.h"

#include <algorithm>
#include <array>

namespace heddle::tools {
namespace {

constexpr std::array codes{
    CheckCode{check_code::root, "the rights of root", "run it with sudo: programs and namespaces need it"},
    CheckCode{check_code::kernel, "the kernel", "nothing: features are tried, not read off the version"},
    CheckCode{check_code::cgroup, "cgroup v2 is mounted",
              "mount it: mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with "
              "systemd.unified_cgroup_hierarchy=1"},
    CheckCode{check_code::bpffs, "the BPF file system is mounted",
              "mount -t bpf bpf /sys/fs/bpf; heddle-agent does so by itself when it may"},
    CheckCode{check_code::hooks, "the kernel takes heddle's eBPF programs",
              "use a kernel from 5.18 on for everything; on others pods are redirected with iptables rules"},
    CheckCode{check_code::iptables, "nat rules can be made, where eBPF cannot be used",
              "modprobe nf_tables nft_redir nft_chain_nat, or install iptables"},
    CheckCode{check_code::cni_plugins, "the runtime's CNI plugins are there",
              "apt install containernetworking-plugins, or what your network add-on installs"},
    CheckCode{check_code::cni_configuration, "a network is configured to be chained to",
              "install the cluster's network add-on; heddle-cni waits for it"},
    CheckCode{check_code::port, "heddle's ports of the node are free",
              "move heddle with --http-address (agent) or --admin-address (proxy)"},
    CheckCode{check_code::program, "heddle's programs are installed",
              "build and install heddle, see README.md"},
    CheckCode{check_code::api_server, "the API server answers",
              "kubectl --context CONTEXT get --raw /readyz; is it the cluster that you mean?"},
    CheckCode{check_code::rights, "you may create what an installation creates",
              "ask for the role cluster-admin, or let somebody who has it run the installation"},
    CheckCode{check_code::nodes, "nodes on which heddle can run",
              "heddle needs Linux nodes; kernels before 5.18 are served with iptables rules"},
    CheckCode{check_code::other_mesh, "no other mesh intercepts the same pods",
              "mesh each namespace with one of them only, or remove the other"},
    CheckCode{
        check_code::cilium, "Cilium keeps other plugins in its configuration",
        "set cni.exclusive=false in Cilium's values (ConfigMap cilium-config: cni-exclusive: \"false\")"},
    CheckCode{
        check_code::control, "heddle-control serves",
        "kubectl -n heddle describe deployment heddle-control; kubectl -n heddle logs deploy/heddle-control"},
    CheckCode{
        check_code::agents, "heddle-agent runs on every node",
        "kubectl -n heddle describe daemonset heddle-agent, and the events of the pods that are not ready"},
    CheckCode{
        check_code::proxies, "heddle-proxy runs on every node",
        "kubectl -n heddle describe daemonset heddle-proxy, and the events of the pods that are not ready"},
    CheckCode{check_code::webhook, "the injector's webhook is registered and trusted",
              "restart heddle-control: it registers its certificate; pods are admitted without it meanwhile"},
    CheckCode{
        check_code::taint, "no node is kept empty by heddle's startup taint",
        "see why heddle-agent is not ready there; kubectl taint node NODE heddle.io/agent-not-ready- lets "
        "unmeshed pods in"},
    CheckCode{check_code::agent, "a node's agent answers and is ready",
              "look at the log of heddle-agent on that node"},
    CheckCode{check_code::pods, "every pod is redirected as planned and served",
              "restart heddle-agent on that node: it repairs pods in place"},
    CheckCode{check_code::proxy_link, "a proxy is connected to the agent",
              "start heddle-proxy with the same --run-dir as the agent"},
    CheckCode{
        check_code::bypass, "no pod gets around the proxy",
        "see skip-outbound-ports, skip-inbound-ports and skip-subnets of the pod, `heddle status`, and the "
        "agent's log"},
    CheckCode{check_code::proxy, "a node's proxy answers", "look at the log of heddle-proxy on that node"},
    CheckCode{check_code::certificates, "certificates are valid",
              "is heddle-control reachable from the node?"},
    CheckCode{check_code::plaintext, "meshed pods do not talk in clear", "heddle explain SRC DST:PORT"},
};

}  // namespace

std::span<const CheckCode> check_codes() {
  return codes;
}

const CheckCode* find_check_code(std::string_view code) {
  const auto* found = std::ranges::find(codes, code, &CheckCode::code);
  return found == codes.end() ? nullptr : found;
}

}  // namespace heddle::tools
