// SPDX-License-Identifier: Apache-2.0
#include "agent/kubelet_cgroup.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "agent/liveness.h"
#include "base/io/file.h"

namespace heddle::agent {
namespace {

// As /proc/PID/comm has them. Newer k3s names its process after its role.
constexpr std::string_view names[] = {"kubelet", "k3s-server", "k3s-agent", "k3s"};

bool is_kubelet(const std::string& process) {
  auto name = read_file(process + "/comm", 64);
  if (!name) return false;
  while (!name->empty() && name->back() == '\n') name->pop_back();
  struct stat status{};
  return std::find(std::begin(names), std::end(names), *name) != std::end(names) &&
         ::stat(process.c_str(), &status) == 0 && status.st_uid == 0 &&
         netns_inode(process + "/ns/net") == netns_inode("/proc/self/ns/net");
}

// As the agent sees it: from its own cgroup namespace the way there may lead up first, to the root that it
// has in common with the kubelet.
std::string cgroup_path(const std::string& process) {
  auto text = read_file(process + "/cgroup", 64 * 1024);
  if (!text) return {};
  const auto at = text->starts_with("0::") ? 0 : text->find("\n0::");
  if (at == std::string::npos) return {};
  const auto begin = text->find("::", at) + 2;
  std::string path = text->substr(begin, text->find('\n', begin) - begin);
  while (path.starts_with("/..")) path.erase(0, 3);
  return path;
}

bool has_process(const std::string& folder, const std::string& pid) {
  const auto processes = read_file(folder + "/cgroup.procs");
  return processes && ("\n" + *processes).find("\n" + pid + "\n") != std::string::npos;
}

bool is_within(const std::string& path, const std::string& folder) {
  return path == folder || path.starts_with(folder + "/");
}

std::vector<std::string> process_ids() {
  std::vector<std::string> out;
  DIR* folder = ::opendir("/proc");
  if (folder == nullptr) return out;
  while (const dirent* entry = ::readdir(folder)) {
    if (std::atoi(entry->d_name) > 0) out.emplace_back(entry->d_name);
  }
  ::closedir(folder);
  return out;
}

}  // namespace

Result<std::string> find_kubelet_cgroup(const std::string& mount, const std::string& pods_cgroup) {
  std::string why = "no process of a kubelet was found (does the agent see the node's processes?)";
  for (const auto& pid : process_ids()) {
    const std::string process = "/proc/" + pid;
    if (!is_kubelet(process)) continue;
    const std::string path = cgroup_path(process);
    std::string folder = path == "/" || path.empty() ? mount : mount + path;
    if (is_within(folder, pods_cgroup)) continue;  // a pod's, whatever its name
    if (is_within(pods_cgroup, folder)) {
      why = "the kubelet's cgroup " + folder + " has the pods' in it";
    } else if (!has_process(folder, pid)) {
      why = "the kubelet's cgroup cannot be seen at " + folder + " (mount the node's /sys/fs/cgroup)";
    } else {
      return folder;
    }
  }
  return make_error(Errc::not_found, why);
}

}  // namespace heddle::agent
