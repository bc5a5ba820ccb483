// SPDX-License-Identifier: Apache-2.0
#include "base/io/cgroup.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.h"
#include "base/io/file.h"

namespace heddle {
namespace {

constexpr ino_t initial_namespace = 0xEFFFFFFB;  // the kernel's PROC_CGROUP_INIT_INO

struct Mount {
  std::string_view root;   // of the mounted tree; "/" is all of it
  std::string_view point;  // where it is
};

// The n-th (from 0) space-separated field of a line.
std::string_view field(std::string_view line, std::size_t n) {
  while (n-- > 0) {
    const auto space = line.find(' ');
    if (space == std::string_view::npos) return {};
    line.remove_prefix(space + 1);
  }
  return line.substr(0, line.find(' '));
}

std::vector<Mount> mounts_of(std::string_view mountinfo, std::string_view type) {
  std::vector<Mount> out;
  while (!mountinfo.empty()) {
    const auto end = mountinfo.find('\n');
    const auto line = mountinfo.substr(0, end);
    mountinfo.remove_prefix(end == std::string_view::npos ? mountinfo.size() : end + 1);
    const auto separator = line.find(" - ");
    if (separator == std::string_view::npos || field(line.substr(separator + 3), 0) != type) continue;
    out.push_back({field(line, 3), field(line, 4)});
  }
  return out;
}

bool has_process(const std::string& folder, pid_t pid) {
  const auto processes = read_file(folder + "/cgroup.procs");
  return processes && ("\n" + *processes).find("\n" + std::to_string(pid) + "\n") != std::string::npos;
}

}  // namespace

Result<std::string> find_cgroup2_mount(std::string_view mountinfo) {
  const auto mounts = mounts_of(mountinfo, "cgroup2");
  if (mounts.empty()) {
    return make_error(Errc::unsupported,
                      "no cgroup2 file system is mounted; mount one with "
                      "`mount -t cgroup2 none /sys/fs/cgroup/unified`");
  }
  // A part of the tree, as containers get it, would hide the pods' cgroups.
  const auto whole =
      std::find_if(mounts.begin(), mounts.end(), [](const Mount& mount) { return mount.root == "/"; });
  return std::string((whole == mounts.end() ? mounts.front() : *whole).point);
}

std::vector<std::string> find_cgroup1_mounts(std::string_view mountinfo) {
  std::vector<std::string> out;
  for (const auto& mount : mounts_of(mountinfo, "cgroup")) out.emplace_back(mount.point);
  return out;
}

Result<std::string> cgroup2_mount() {
  auto mountinfo = read_file("/proc/self/mountinfo");
  if (!mountinfo) return mountinfo.error();
  return find_cgroup2_mount(*mountinfo);
}

Result<> enter_node_cgroup_namespace() {
  const Fd there(::open("/proc/1/ns/cgroup", O_RDONLY | O_CLOEXEC));
  struct stat theirs{};
  struct stat ours{};
  if (!there || ::fstat(there.get(), &theirs) != 0)
    return make_errno(errno, "cannot look at the cgroup namespace of process 1");
  if (::stat("/proc/thread-self/ns/cgroup", &ours) == 0 && ours.st_ino == theirs.st_ino) return {};
  if (::setns(there.get(), CLONE_NEWCGROUP) != 0)
    return make_errno(errno, "cannot enter the cgroup namespace of process 1");
  return {};
}

bool in_initial_cgroup_namespace() {
  struct stat ours{};
  return ::stat("/proc/thread-self/ns/cgroup", &ours) == 0 && ours.st_ino == initial_namespace;
}

Result<std::string> cgroup2_folder(const std::string& mount, pid_t pid) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/cgroup", 64 * 1024);
  if (!text) return text.error();
  const auto at = text->starts_with("0::") ? 0 : text->find("\n0::");
  if (at == std::string::npos)
    return make_error(Errc::not_found, "process " + std::to_string(pid) + " is in no cgroup v2");
  const auto begin = text->find("::", at) + 2;
  const std::string path = text->substr(begin, text->find('\n', begin) - begin);
  std::string folder = path == "/" ? mount : mount + path;
  if (path.find("/..") == std::string::npos && has_process(folder, pid)) return folder;
  return make_error(Errc::not_found, "the cgroup " + path + " of process " + std::to_string(pid) +
                                         " cannot be seen at " + mount +
                                         " (mount the node's /sys/fs/cgroup, and let the container see the "
                                         "node's processes: hostPID)");
}

}  // namespace heddle
