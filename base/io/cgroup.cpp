// SPDX-License-Identifier: Apache-2.0
#include "base/io/cgroup.h"

#include "base/io/file.h"

namespace heddle {
namespace {

// The n-th (from 0) space-separated field of a line.
std::string_view field(std::string_view line, std::size_t n) {
  while (n-- > 0) {
    const auto space = line.find(' ');
    if (space == std::string_view::npos) return {};
    line.remove_prefix(space + 1);
  }
  return line.substr(0, line.find(' '));
}

}  // namespace

Result<std::string> find_cgroup2_mount(std::string_view mountinfo) {
  while (!mountinfo.empty()) {
    const auto end = mountinfo.find('\n');
    const auto line = mountinfo.substr(0, end);
    mountinfo.remove_prefix(end == std::string_view::npos ? mountinfo.size() : end + 1);
    const auto separator = line.find(" - ");
    if (separator == std::string_view::npos || field(line.substr(separator + 3), 0) != "cgroup2") continue;
    // Field 3 is the mounted root: a bind mount of a part of the tree would hide the pods' cgroups.
    return std::string(field(line, 4));
  }
  return make_error(Errc::unsupported,
                    "no cgroup2 file system is mounted; mount one with "
                    "`mount -t cgroup2 none /sys/fs/cgroup/unified`");
}

Result<std::string> cgroup2_mount() {
  auto mountinfo = read_file("/proc/self/mountinfo");
  if (!mountinfo) return mountinfo.error();
  return find_cgroup2_mount(*mountinfo);
}

Result<std::string> own_cgroup2() {
  auto text = read_file("/proc/self/cgroup");
  if (!text) return text.error();
  std::string_view rest = *text;
  while (!rest.empty()) {
    const auto end = rest.find('\n');
    const auto line = rest.substr(0, end);
    if (line.starts_with("0::")) return std::string(line.substr(3));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return make_error(Errc::unsupported, "this process is in no cgroup v2");
}

}  // namespace heddle
