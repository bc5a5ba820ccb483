// SPDX-License-Identifier: Apache-2.0
#include "agent/liveness.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/io/file.h"
#include "base/io/netns.h"

namespace heddle::agent {

std::uint64_t netns_inode(const std::string& path) {
  // Through open_netns(): any other file of that path is not the netns.
  const auto fd = open_netns(path);
  return fd ? netns_inode(fd->get()) : 0;
}

std::uint64_t netns_inode(int fd) {
  struct stat status{};
  return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

bool is_removed(const std::string& path) {
  if (path.starts_with("/proc/")) return true;  // of a process that ended, or closed it
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0 || errno != ENOENT) return false;
  const std::string folder = path.substr(0, path.rfind('/'));
  return ::stat(folder.c_str(), &status) == 0;
}

std::unordered_set<std::uint64_t> inhabited_netns() {
  std::unordered_set<std::uint64_t> out;
  DIR* folder = ::opendir("/proc");
  if (folder == nullptr) return out;
  while (const dirent* entry = ::readdir(folder)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    const std::string link = std::string("/proc/") + entry->d_name + "/ns/net";
    char target[64];
    const ssize_t size = ::readlink(link.c_str(), target, sizeof target - 1);
    if (size <= 5) continue;
    target[size] = '\0';  // "net:[4026531840]"
    out.insert(std::strtoull(target + 5, nullptr, 10));
  }
  ::closedir(folder);
  return out;
}

Result<> pin_netns(int netns_fd, const std::string& path) {
  unpin_netns(path);
  const Fd file(::open(path.c_str(), O_CREAT | O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0444));
  if (!file) return make_errno(errno, "cannot create " + path);
  const std::string from = "/proc/self/fd/" + std::to_string(netns_fd);
  if (::mount(from.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0) {
    const int saved = errno;
    ::unlink(path.c_str());
    return make_errno(saved, "cannot bind-mount a network namespace at " + path);
  }
  return {};
}

std::vector<std::string> pinned_names(const std::string& folder) {
  std::vector<std::string> out;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
    out.push_back(entry.path().filename());
  return out;
}

void unpin_netns(const std::string& path) {
  ::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  ::unlink(path.c_str());
}

}  // namespace heddle::agent
