// SPDX-License-Identifier: Apache-2.0
#include "agent/kubelet_cgroup.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "agent/liveness.h"
#include "base/io/cgroup.h"
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
    const auto folder = cgroup2_folder(mount, std::atoi(pid.c_str()));
    if (!folder) {
      why = "of the kubelet: " + folder.error().message();
    } else if (is_within(pods_cgroup, *folder)) {
      why = "the kubelet's cgroup " + *folder + " has the pods' in it";
    } else if (!is_within(*folder, pods_cgroup)) {  // a pod's is none, whatever its name
      return *folder;
    }
  }
  return make_error(Errc::not_found, why);
}

}  // namespace heddle::agent
