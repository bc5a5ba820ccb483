// SPDX-License-Identifier: Apache-2.0
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>
#include <sstream>

#include "base/io/cgroup.h"
#include "base/io/file.h"
#include "tools/check/checks.h"
#include "tools/check/codes.h"
#include "tools/lab/options.h"
#include "tools/output/error_text.h"
#include "tools/output/walk.h"
#include "tools/process/spawn.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

void check_kernel(Verdicts& out) {
  utsname names{};
  ::uname(&names);
  out.judge(::geteuid() == 0, check_code::root, "root", "",
            "programs and namespaces need it: run this with sudo");
  out.ok(check_code::kernel, "kernel",
         std::string(names.release) + " (features are tried, not read off the version)");
  const auto cgroup = cgroup2_mount();
  out.judge(static_cast<bool>(cgroup), check_code::cgroup, "cgroup v2", cgroup ? *cgroup : "",
            cgroup ? "" : error_text(cgroup.error()));
  struct statfs file_system{};
  const bool bpffs = ::statfs("/sys/fs/bpf", &file_system) == 0 && file_system.f_type == 0xcafe4a11;
  if (bpffs) {
    out.ok(check_code::bpffs, "bpffs", "/sys/fs/bpf");
  } else {
    out.warn(check_code::bpffs, "bpffs", "not mounted on /sys/fs/bpf; heddle-agent mounts it when it starts");
  }
}

// heddle-agent tries each hook on a throw-away cgroup and namespace; this only shows what it found.
void check_hooks(Verdicts& out) {
  const auto agent = find_program("heddle-agent", "");
  if (!agent) return out.warn(check_code::hooks, "eBPF hooks", error_text(agent.error()));
  SpawnSpec spec;
  spec.argv = {*agent, "--probe"};
  auto done = run(spec, {}, std::chrono::seconds(20));
  boost::system::error_code malformed;
  const auto value = done ? json::parse(done->out, malformed) : json::value();
  if (!done || malformed || !value.is_object()) {
    return out.warn(
        check_code::hooks, "eBPF hooks",
        "heddle-agent --probe said nothing: " + (done ? done->err.substr(0, 200) : error_text(done.error())));
  }
  const auto* hooks = find_array(value.get_object(), {"hooks"});
  bool all = hooks && !hooks->empty();
  for (const auto& entry : hooks ? *hooks : json::array()) {
    const auto& hook = entry.as_object();
    const bool usable = text_at(hook, {"usable"}) == "true";
    all = all && usable;
    if (!usable) out.warn(check_code::hooks, "hook " + text_at(hook, {"hook"}), text_at(hook, {"reason"}));
  }
  const auto iptables = text_at(value.get_object(), {"iptables"});
  if (all) {
    out.ok(check_code::hooks, "eBPF interception", std::to_string(hooks->size()) + " hooks load and attach");
  } else {
    out.warn(check_code::hooks, "eBPF interception", "unusable; pods are redirected with iptables rules");
  }
  const bool redirect = text_at(value.get_object(), {"iptables_usable"}) == "true";
  if (redirect) {
    out.ok(check_code::iptables, "iptables interception", iptables);
  } else if (all) {
    out.warn(check_code::iptables, "iptables interception", iptables.empty() ? "unusable" : iptables);
  } else {
    out.fail(check_code::iptables, "iptables interception",
             "neither way of interception works here: " + iptables);
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
  out.judge(plugins, check_code::cni_plugins, "CNI plugins",
            fs::exists("/opt/cni/bin", failed) ? "/opt/cni/bin" : "/usr/lib/cni",
            "neither /opt/cni/bin nor /usr/lib/cni exists: install the runtime's CNI plugins (Debian: "
            "containernetworking-plugins)");
  bool network = false;
  for (const auto& entry : fs::directory_iterator("/etc/cni/net.d", failed)) {
    const auto extension = entry.path().extension();
    network = network || extension == ".conflist" || extension == ".conf";
  }
  if (network) {
    out.ok(check_code::cni_configuration, "CNI configuration", "/etc/cni/net.d");
  } else {
    out.warn(check_code::cni_configuration, "CNI configuration",
             "/etc/cni/net.d has none yet; `heddle-cni install --watch` waits for one");
  }
  for (const unsigned port : {4191u, 4195u}) {
    const auto name = "port " + std::to_string(port);
    if (listens(port)) {
      out.warn(check_code::port, name,
               "something listens there already; move heddle with --admin-address or --http-address");
    } else {
      out.ok(check_code::port, name, "free");
    }
  }
  for (const auto* program : {"heddle-agent", "heddle-proxy", "heddle-cni", "heddle-control"}) {
    const auto found = find_program(program, "");
    out.judge(static_cast<bool>(found), check_code::program, program, found ? *found : "",
              found ? "" : error_text(found.error()));
  }
}

}  // namespace

void check_machine(Verdicts& out) {
  check_kernel(out);
  check_hooks(out);
  check_place(out);
}

}  // namespace heddle::tools
