// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/layout.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>
#include <sstream>

#include "base/io/cgroup.h"
#include "base/io/file.h"

namespace heddle::tools {
namespace {

namespace fs = std::filesystem;

constexpr const char* labs_root = "/run/heddle-lab";

std::vector<std::string> child_folders(const std::string& path) {
  std::vector<std::string> out;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(path, failed)) {
    if (entry.is_directory(failed) && !entry.is_symlink(failed)) out.push_back(entry.path());
  }
  return out;
}

// Pids in a cgroup and everything below it, but never the caller itself.
void collect_pids(const std::string& cgroup, std::vector<pid_t>& out) {
  for (const auto& child : child_folders(cgroup)) collect_pids(child, out);
  const auto text = read_file(cgroup + "/cgroup.procs");
  if (!text) return;
  std::istringstream lines(*text);
  for (pid_t pid; lines >> pid;) {
    if (pid > 0 && pid != ::getpid()) out.push_back(pid);
  }
}

Result<> kill_all(const std::string& cgroup) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (true) {
    std::vector<pid_t> pids;
    collect_pids(cgroup, pids);
    if (pids.empty()) return {};
    if (std::chrono::steady_clock::now() > deadline) {
      return make_error(Errc::timeout, "process " + std::to_string(pids.front()) + " in " + cgroup +
                                           " does not die; look at /proc/" + std::to_string(pids.front()) +
                                           "/stack");
    }
    // SIGKILL, repeated: what a dying supervisor forked between reading and killing is caught by the next
    // round.
    for (const pid_t pid : pids) ::kill(pid, SIGKILL);
    ::usleep(5'000);
  }
}

void remove_cgroups(const std::string& cgroup) {
  for (const auto& child : child_folders(cgroup)) remove_cgroups(child);
  // Just emptied cgroups are busy until the kernel has reaped the last task.
  for (int attempt = 0; attempt < 200 && ::rmdir(cgroup.c_str()) != 0 && errno == EBUSY; ++attempt)
    ::usleep(5'000);
}

// Mount points below `root`, deepest and latest first.
std::vector<std::string> mounts_below(const std::string& root) {
  std::vector<std::string> out;
  const auto text = read_file("/proc/self/mountinfo");
  if (!text) return out;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string skipped, point;
    fields >> skipped >> skipped >> skipped >> skipped >> point;
    if (point.starts_with(root + "/")) out.push_back(point);
  }
  std::reverse(out.begin(), out.end());
  return out;
}

}  // namespace

Result<LabLayout> LabLayout::of(const std::string& name) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyz0123456789-";
  if (name.empty() || name.size() > 32 || name.front() == '-' ||
      name.find_first_not_of(allowed) != std::string::npos) {
    return make_error(Errc::invalid_argument,
                      "lab name `" + name + "`: use 1 to 32 lower-case letters, digits and `-`");
  }
  auto mount = cgroup2_mount();
  if (!mount) return mount.error();
  LabLayout out;
  out.name = name;
  out.root = std::string(labs_root) + "/" + name;
  out.cgroup = *mount + "/heddle-lab/" + name;
  return out;
}

std::vector<std::string> lab_names() {
  std::vector<std::string> out;
  const auto mount = cgroup2_mount();
  for (const auto& parent : {std::string(labs_root), mount ? *mount + "/heddle-lab" : std::string()}) {
    if (parent.empty()) continue;
    for (const auto& folder : child_folders(parent)) out.push_back(fs::path(folder).filename());
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

Result<> remove_lab(const LabLayout& layout) {
  if (auto killed = kill_all(layout.cgroup); !killed) return killed;
  for (const auto& point : mounts_below(layout.root)) ::umount2(point.c_str(), MNT_DETACH);
  remove_cgroups(layout.cgroup);
  ::rmdir(fs::path(layout.cgroup).parent_path().c_str());  // the last lab takes the parent with it
  if (!mounts_below(layout.root).empty()) {
    return make_error(Errc::internal,
                      "something is still mounted below " + layout.root + "; not removing its files");
  }
  std::error_code failed;
  fs::remove_all(layout.root, failed);
  if (failed) return Error{failed, "cannot remove " + layout.root};
  ::rmdir(labs_root);
  return {};
}

}  // namespace heddle::tools
