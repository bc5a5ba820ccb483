// SPDX-License-Identifier: Apache-2.0
#include "tools/diagnostics/facts.h"

#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/io/file.h"
#include "tools/diagnostics/scrub.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
namespace fs = std::filesystem;

constexpr std::size_t most_entries = 1000;

long filesystem_of(const char* path) {
  struct statfs found{};
  return ::statfs(path, &found) == 0 ? static_cast<long>(found.f_type) : 0;
}

std::string first_line(const std::string& path) {
  const auto text = read_file(path, 64 * 1024);
  return text ? text->substr(0, text->find('\n')) : std::string();
}

void put_line(json::object& out, const char* name, const std::string& path) {
  if (const auto line = first_line(path); !line.empty()) out[name] = line;
}

json::object cgroup_facts() {
  json::object out;
  const bool unified = filesystem_of("/sys/fs/cgroup") == CGROUP2_SUPER_MAGIC;
  const bool beside = filesystem_of("/sys/fs/cgroup/unified") == CGROUP2_SUPER_MAGIC;
  out["mode"] = unified ? "v2" : beside ? "hybrid" : "v1";
  const std::string root = unified || !beside ? "/sys/fs/cgroup" : "/sys/fs/cgroup/unified";
  put_line(out, "controllers", root + "/cgroup.controllers");
  json::array pods;
  for (const char* name : {"kubepods", "kubepods.slice"}) {
    if (::access((root + "/" + name).c_str(), F_OK) == 0) pods.emplace_back(name);
  }
  out["pods"] = std::move(pods);
  return out;
}

json::array pinned() {
  json::array out;
  std::error_code failed;
  for (fs::recursive_directory_iterator
           at("/sys/fs/bpf", fs::directory_options::skip_permission_denied, failed),
       end;
       !failed && at != end && out.size() < most_entries; at.increment(failed)) {
    if (at->path().string().find("heddle") != std::string::npos) out.emplace_back(at->path().string());
  }
  return out;
}

json::object bpf_facts() {
  json::object out{{"filesystem", filesystem_of("/sys/fs/bpf") == BPF_FS_MAGIC},
                   {"btf", ::access("/sys/kernel/btf/vmlinux", R_OK) == 0},
                   {"pinned", pinned()}};
  put_line(out, "jit", "/proc/sys/net/core/bpf_jit_enable");
  put_line(out, "unprivilegedDisabled", "/proc/sys/kernel/unprivileged_bpf_disabled");
  put_line(out, "lockdown", "/sys/kernel/security/lockdown");
  return out;
}

json::object memory_facts() {
  json::object out;
  const auto text = read_file("/proc/meminfo", 64 * 1024);
  if (!text) return out;
  for (const char* name : {"MemTotal", "MemAvailable", "SwapTotal"}) {
    const auto at = text->find(std::string(name) + ":");
    if (at == std::string::npos) continue;
    const auto digit = text->find_first_of("0123456789", at);
    if (digit != std::string::npos) out[name] = text->substr(digit, text->find('\n', digit) - digit);
  }
  return out;
}

}  // namespace

json::object machine_facts() {
  json::object out;
  utsname kernel{};
  if (::uname(&kernel) == 0)
    out["kernel"] =
        json::object{{"release", kernel.release}, {"version", kernel.version}, {"machine", kernel.machine}};
  out["cpus"] = ::sysconf(_SC_NPROCESSORS_ONLN);
  out["memory"] = memory_facts();
  put_line(out, "load", "/proc/loadavg");
  put_line(out, "uptime", "/proc/uptime");
  out["cgroup"] = cgroup_facts();
  out["bpf"] = bpf_facts();
  json::object net;
  put_line(net, "ipForward", "/proc/sys/net/ipv4/ip_forward");
  put_line(net, "ipv6Disabled", "/proc/sys/net/ipv6/conf/all/disable_ipv6");
  put_line(net, "localPorts", "/proc/sys/net/ipv4/ip_local_port_range");
  out["net"] = std::move(net);
  return out;
}

json::object cni_configurations(const std::string& folder) {
  std::error_code failed;
  std::vector<fs::path> paths;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) {
    const auto extension = at->path().extension();
    if (extension == ".conf" || extension == ".conflist" || extension == ".json") paths.push_back(at->path());
    if (paths.size() == most_entries) break;
  }
  if (failed) return {{"error", folder + ": " + failed.message()}};
  std::ranges::sort(paths);
  json::object out;
  for (const auto& path : paths) {
    const auto text = read_file(path, 1024 * 1024);
    boost::system::error_code malformed;
    json::value value = text ? json::parse(*text, malformed) : json::value(text.error().message());
    if (malformed) value = json::string(*text);
    scrub_json(value);
    out[path.filename().string()] = std::move(value);
  }
  return out;
}

}  // namespace heddle::tools
