// SPDX-License-Identifier: Apache-2.0
#include "proxy/program/ceilings.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <optional>
#include <string_view>

#include "base/io/file.h"

namespace heddle::proxy {
namespace {

constexpr const char* cgroup_root = "/sys/fs/cgroup";

// The number at the start of a file; none for "max" and where there is no such file.
std::optional<std::uint64_t> read_number(const std::string& path) {
  const auto text = read_file(path, 4096);
  std::uint64_t number = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), number).ec != std::errc{})
    return std::nullopt;
  return number;
}

// The process' cgroup as it sees itself, "/" in a namespace of its own.
std::string own_cgroup() {
  const auto text = read_file("/proc/self/cgroup", 64 * 1024);
  if (!text) return {};
  const auto at = text->find("0::");
  if (at == std::string::npos) return {};
  return text->substr(at + 3, text->find('\n', at) - at - 3);
}

// Of the folders from the process' own up the one whose memory.max is lowest: any of them ends the process.
std::string limiting_cgroup() {
  std::string path = own_cgroup();
  std::string found;
  std::uint64_t lowest = ~std::uint64_t{0};
  while (true) {
    const std::string folder = cgroup_root + (path == "/" ? std::string() : path);
    if (const auto limit = read_number(folder + "/memory.max"); limit && *limit < lowest) {
      lowest = *limit;
      found = folder;
    }
    const auto slash = path.rfind('/');
    if (slash == std::string::npos) return found;
    path.resize(slash);
  }
}

// A field of memory.stat; what a file gives that is not there is nothing.
std::uint64_t read_field(const std::string& path, std::string_view name) {
  const auto text = read_file(path, 64 * 1024);
  if (!text) return 0;
  const std::string wanted = "\n" + std::string(name) + " ";
  const auto at = text->find(wanted);
  std::uint64_t number = 0;
  if (at != std::string::npos)
    std::from_chars(text->data() + at + wanted.size(), text->data() + text->size(), number);
  return number;
}

std::uint64_t resident_bytes() {
  const auto text = read_file("/proc/self/statm", 4096);
  if (!text) return 0;
  std::uint64_t pages = 0;
  const auto space = text->find(' ');
  if (space == std::string::npos) return 0;
  std::from_chars(text->data() + space + 1, text->data() + text->size(), pages);
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

// Since Linux 6.2 the folder's size is the number of descriptors; before it has to be counted.
std::uint64_t open_descriptors() {
  struct stat about{};
  if (::stat("/proc/self/fd", &about) == 0 && about.st_size > 0)
    return static_cast<std::uint64_t>(about.st_size);
  DIR* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  std::uint64_t count = 0;
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count > 3 ? count - 3 : 0;  // without ".", ".." and the folder itself
}

}  // namespace

Ceilings::Ceilings(std::uint64_t max_memory)
    : max_memory_(max_memory), cgroup_(max_memory == 0 ? limiting_cgroup() : std::string()) {}

Ceiling Ceilings::descriptors() const {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return {};
  return {open_descriptors(), files.rlim_cur == RLIM_INFINITY ? 0 : files.rlim_cur};
}

Ceiling Ceilings::memory() const {
  if (max_memory_ != 0) return {resident_bytes(), max_memory_};
  if (cgroup_.empty()) return {resident_bytes(), 0};
  const std::uint64_t all = read_number(cgroup_ + "/memory.current").value_or(0);
  const std::uint64_t given_up = read_field(cgroup_ + "/memory.stat", "inactive_file");
  return {all > given_up ? all - given_up : 0, read_number(cgroup_ + "/memory.max").value_or(0)};
}

}  // namespace heddle::proxy
