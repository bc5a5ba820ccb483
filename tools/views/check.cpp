// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <ctime>
#include <filesystem>
#include <iostream>
#include <sstream>

#include "base/io/cgroup.h"
#include "base/io/file.h"
#include "tools/lab/options.h"
#include "tools/output/error_text.h"
#include "tools/output/json.h"
#include "tools/output/table.h"
#include "tools/output/walk.h"
#include "tools/process/spawn.h"
#include "tools/views/bypass.h"
#include "tools/views/commands.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

// One line of a check. A warning does not fail it.
struct Verdict {
  enum class Level { ok, warning, failure };
  Level level = Level::ok;
  std::string what;
  std::string detail;  // what was found; for anything but ok also what to do
};

class Verdicts {
 public:
  void ok(const std::string& what, const std::string& detail = {}) {
    list_.push_back({Verdict::Level::ok, what, detail});
  }
  void warn(const std::string& what, const std::string& detail) {
    list_.push_back({Verdict::Level::warning, what, detail});
  }
  void fail(const std::string& what, const std::string& detail) {
    list_.push_back({Verdict::Level::failure, what, detail});
  }
  void judge(bool good, const std::string& what, const std::string& found, const std::string& otherwise) {
    good ? ok(what, found) : fail(what, otherwise);
  }

  int print(Output output) const {
    constexpr const char* words[] = {"ok", "warning", "failure"};
    bool good = true;
    json::array checks;
    Table table({"RESULT", "CHECK", "DETAIL"});
    for (const auto& verdict : list_) {
      good = good && verdict.level != Verdict::Level::failure;
      const auto* word = words[static_cast<int>(verdict.level)];
      checks.push_back(json::object{{"result", word}, {"check", verdict.what}, {"detail", verdict.detail}});
      table.add({verdict.level == Verdict::Level::failure ? "FAIL" : word, verdict.what, verdict.detail});
    }
    if (output == Output::json) {
      std::cout << json_text(json::object{{"ok", good}, {"checks", std::move(checks)}}, true) << "\n";
    } else {
      std::cout << table.render() << (good ? "all is well\n" : "something is wrong, see above\n");
    }
    return good ? 0 : 1;
  }

 private:
  std::vector<Verdict> list_;
};

// ---- before an installation
// --------------------------------------------------------------------------------------

void check_machine(Verdicts& out) {
  utsname names{};
  ::uname(&names);
  out.judge(::geteuid() == 0, "root", "", "programs and namespaces need it: run this with sudo");
  out.ok("kernel", std::string(names.release) + " (features are tried, not read off the version)");
  const auto cgroup = cgroup2_mount();
  out.judge(static_cast<bool>(cgroup), "cgroup v2", cgroup ? *cgroup : "",
            cgroup ? "" : error_text(cgroup.error()));
  struct statfs file_system{};
  const bool bpffs = ::statfs("/sys/fs/bpf", &file_system) == 0 && file_system.f_type == 0xcafe4a11;
  if (bpffs) {
    out.ok("bpffs", "/sys/fs/bpf");
  } else {
    out.warn("bpffs", "not mounted on /sys/fs/bpf; heddle-agent mounts it when it starts");
  }
}

// heddle-agent tries each hook on a throw-away cgroup and namespace; this only shows what it found.
void check_hooks(Verdicts& out) {
  const auto agent = find_program("heddle-agent", "");
  if (!agent) return out.warn("eBPF hooks", error_text(agent.error()));
  SpawnSpec spec;
  spec.argv = {*agent, "--probe"};
  auto done = run(spec, {}, std::chrono::seconds(20));
  boost::system::error_code malformed;
  const auto value = done ? json::parse(done->out, malformed) : json::value();
  if (!done || malformed || !value.is_object()) {
    return out.warn("eBPF hooks", "heddle-agent --probe said nothing: " +
                                      (done ? done->err.substr(0, 200) : error_text(done.error())));
  }
  const auto* hooks = find_array(value.get_object(), {"hooks"});
  bool all = hooks && !hooks->empty();
  for (const auto& entry : hooks ? *hooks : json::array()) {
    const auto& hook = entry.as_object();
    const bool usable = text_at(hook, {"usable"}) == "true";
    all = all && usable;
    if (!usable) out.warn("hook " + text_at(hook, {"hook"}), text_at(hook, {"reason"}));
  }
  const auto iptables = text_at(value.get_object(), {"iptables"});
  if (all) {
    out.ok("eBPF interception", std::to_string(hooks->size()) + " hooks load and attach");
  } else {
    out.warn("eBPF interception", "unusable; pods are redirected with iptables rules");
  }
  const bool redirect = text_at(value.get_object(), {"iptables_usable"}) == "true";
  if (redirect) {
    out.ok("iptables interception", iptables);
  } else if (all) {
    out.warn("iptables interception", iptables.empty() ? "unusable" : iptables);
  } else {
    out.fail("iptables interception", "neither way of interception works here: " + iptables);
  }
}

// Ports that listen in this network namespace, from /proc/net/tcp{,6}.
bool listens(unsigned port) {
  char wanted[16];
  std::snprintf(wanted, sizeof wanted, ":%04X", port);
  for (const auto* path : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    const auto text = read_file(path);
    if (!text) continue;
    std::istringstream lines(*text);
    for (std::string line; std::getline(lines, line);) {
      std::istringstream fields(line);
      std::string slot, local, remote, state;
      fields >> slot >> local >> remote >> state;
      if (state == "0A" && local.ends_with(wanted)) return true;
    }
  }
  return false;
}

void check_place(Verdicts& out) {
  namespace fs = std::filesystem;
  std::error_code failed;
  const bool plugins = fs::exists("/opt/cni/bin", failed) || fs::exists("/usr/lib/cni", failed);
  out.judge(plugins, "CNI plugins", fs::exists("/opt/cni/bin", failed) ? "/opt/cni/bin" : "/usr/lib/cni",
            "neither /opt/cni/bin nor /usr/lib/cni exists: install the runtime's CNI plugins (Debian: "
            "containernetworking-plugins)");
  bool network = false;
  for (const auto& entry : fs::directory_iterator("/etc/cni/net.d", failed)) {
    const auto extension = entry.path().extension();
    network = network || extension == ".conflist" || extension == ".conf";
  }
  if (network) {
    out.ok("CNI configuration", "/etc/cni/net.d");
  } else {
    out.warn("CNI configuration", "/etc/cni/net.d has none yet; `heddle-cni install --watch` waits for one");
  }
  for (const unsigned port : {4191u, 4195u}) {
    const auto name = "port " + std::to_string(port);
    if (listens(port)) {
      out.warn(name, "something listens there already; move heddle with --admin-address or --http-address");
    } else {
      out.ok(name, "free");
    }
  }
  for (const auto* program : {"heddle-agent", "heddle-proxy", "heddle-cni", "heddle-control"}) {
    const auto found = find_program(program, "");
    out.judge(static_cast<bool>(found), program, found ? *found : "", found ? "" : error_text(found.error()));
  }
}

// ---- a running node
// ----------------------------------------------------------------------------------------------

void check_pods(Verdicts& out, const std::string& node, const NodeView& view) {
  auto verified = view.get_json(AdminOf::agent, "/verify");
  if (!verified) return out.fail(node + ": pods", error_text(verified.error()));
  std::size_t good = 0;
  for (const auto& value : verified->at("pods").as_array()) {
    const auto& pod = value.as_object();
    const auto name = node + ": pod " + text_at(pod, {"namespace"}) + "/" + text_at(pod, {"name"});
    if (text_at(pod, {"ok"}) != "true") {
      out.fail(name, text_at(pod, {"missing"}) + "; restart heddle-agent, it repairs in place");
    } else if (text_at(pod, {"proxy"}) != "acknowledged") {
      out.warn(name, "redirected, but no proxy serves it yet: its connections wait");
    } else {
      ++good;
    }
  }
  out.ok(node + ": pods", std::to_string(good) + " redirected as planned and served");
  out.judge(text_at(*verified, {"proxy_active"}) == "true", node + ": proxy linked", "to the agent",
            "no proxy is connected to the agent; start heddle-proxy with the same --run-dir");
}

void check_certificates(Verdicts& out, const std::string& node, const std::vector<Sample>& samples) {
  const auto now = static_cast<double>(std::time(nullptr));
  std::size_t valid = 0;
  double soonest = 0;
  for (const auto& sample : samples) {
    if (sample.name != "identity_cert_expiration_timestamp_seconds") continue;
    if (sample.value <= now) {
      out.fail(node + ": certificate " + sample.label("identity"),
               sample.value <= 0 ? "none yet: is heddle-control reachable?"
                                 : "expired; is heddle-control reachable?");
      continue;
    }
    ++valid;
    soonest = soonest == 0 ? sample.value : std::min(soonest, sample.value);
  }
  if (valid > 0)
    out.ok(node + ": certificates",
           std::to_string(valid) + " valid, the first ends in " + age_text(soonest - now));
}

// Connections between meshed pods that went in clear: the destination is a pod with an identity of this mesh.
void check_plaintext(Verdicts& out, const std::string& node, const std::vector<Sample>& samples,
                     const std::vector<std::string>& meshed_ips) {
  double secured = 0;
  for (const auto& sample : samples) {
    const bool connection = sample.name == "tcp_open_total" && sample.label("peer") == "dst";
    if (sample.label("direction") != "outbound" || (!connection && sample.name != "request_total")) continue;
    const auto& tls = sample.label("tls");
    if (tls == "true" || tls == "local") {
      secured += sample.value;
      continue;
    }
    const auto address = SocketAddress::parse(sample.label("target_addr"));
    if (!address || sample.value <= 0) continue;
    if (std::find(meshed_ips.begin(), meshed_ips.end(), address->ip.to_string()) != meshed_ips.end()) {
      out.fail(node + ": plaintext", sample.label("namespace") + "/" + sample.label("pod") + " -> " +
                                         address->to_string() + ": both are meshed, yet " +
                                         scaled(sample.value) +
                                         " connections or requests went in clear; see `heddle explain`");
    }
  }
  out.ok(node + ": mesh traffic",
         scaled(secured) + " connections and requests encrypted or joined on the node");
}

// That nobody goes around: a real connection of every meshed pod, and one to it.
void check_bypass(Verdicts& out, const std::string& node, const NodeView& view, const json::object& state) {
  const auto processes = processes_by_netns();
  std::size_t captured = 0;
  const auto* pods = find_array(state, {"pods"});
  for (const auto& value : pods ? *pods : json::array()) {
    const auto* pod = value.if_object();
    const auto* ips = pod ? find_array(*pod, {"ips"}) : nullptr;
    if (!pod || text_at(*pod, {"redirected"}) != "true" || !ips || ips->empty()) continue;
    const auto name = node + ": pod " + text_at(*pod, {"namespace"}) + "/" + text_at(*pod, {"name"});
    const auto ip = IpAddress::parse(std::string(ips->front().as_string()));
    struct stat netns{};
    const auto path = text_at(*pod, {"netns"});
    if (!ip || ::stat(path.c_str(), &netns) != 0) {
      out.warn(name, "its connections could not be tried: " + path + " is not there for this command");
      continue;
    }
    const auto process = processes.find(netns.st_ino);
    if (process == processes.end()) {
      out.warn(name, "its connections could not be tried: no process of it is running");
      continue;
    }
    const BypassTrial trial{path, view.netns, process->second, *ip};
    const auto outbound = try_outbound(trial);
    if (!outbound) {
      out.fail(name, "outbound: " + error_text(outbound.error()) +
                         " (right only if its skip-outbound-ports or skip-subnets say so); see "
                         "`heddle status` and the agent's log");
      continue;
    }
    const auto inbound = try_inbound(trial);
    if (!inbound) {
      out.warn(name, "inbound: " + error_text(inbound.error()) +
                         " (right if its skip-inbound-ports say so, or if the agent lets the node's own "
                         "address through for want of --probe-cgroup)");
      continue;
    }
    ++captured;
  }
  out.ok(node + ": no way around",
         "connections out of and into " + std::to_string(captured) + " pods were tried and taken over");
}

std::vector<std::string> meshed_addresses(const std::vector<NodeView>& nodes) {
  std::vector<std::string> out;
  for (const auto& node : nodes) {
    const auto state = node.agent_state();
    const auto* pods = state ? find_array(*state, {"pods"}) : nullptr;
    for (const auto& value : pods ? *pods : json::array()) {
      const auto* pod = value.if_object();
      if (!pod || text_at(*pod, {"meshed"}) != "true") continue;
      if (const auto* ips = find_array(*pod, {"ips"})) {
        for (const auto& ip : *ips) out.emplace_back(ip.as_string());
      }
    }
  }
  return out;
}

void check_node(Verdicts& out, const NodeView& view, const std::vector<std::string>& meshed_ips) {
  auto state = view.agent_state();
  const auto node = !view.name.empty() ? view.name : state ? text_at(*state, {"node"}) : view.run_dir;
  if (!state) {
    out.fail(node + ": agent", error_text(state.error()));
  } else {
    out.judge(text_at(*state, {"ready"}) == "true", node + ": agent",
              "ready, " + text_at(*state, {"interception", "mode"}) + " (" +
                  text_at(*state, {"interception", "reason"}) + ")",
              "starting; look at its log");
    check_pods(out, node, view);
    check_bypass(out, node, view, *state);
  }
  auto samples = view.proxy_metrics();
  if (!samples) return out.fail(node + ": proxy", error_text(samples.error()));
  out.ok(node + ": proxy", "answers");
  check_certificates(out, node, *samples);
  check_plaintext(out, node, *samples, meshed_ips);
}

}  // namespace

int show_check(const View& view, bool before) {
  const Output output = view.output;
  Verdicts out;
  if (before) {
    check_machine(out);
    check_hooks(out);
    check_place(out);
    return out.print(output);
  }
  auto nodes = nodes_in(view.scope);
  if (!nodes) return report(nodes.error());
  const auto meshed = meshed_addresses(*nodes);
  for (const auto& node : *nodes) check_node(out, node, meshed);
  return out.print(output);
}

}  // namespace heddle::tools
