// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_cgroup.h"

#include <algorithm>

namespace heddle::agent {
namespace {

constexpr std::string_view slice = ".slice";
constexpr std::string_view all_pods = "kubepods";

// "podUID" or "kubepods-besteffort-podUID.slice"; empty: another kind of name.
std::string uid_in(std::string_view name) {
  if (!name.ends_with(slice)) return name.starts_with("pod") ? std::string(name.substr(3)) : std::string();
  name.remove_suffix(slice.size());
  const auto begin = name.starts_with(all_pods) ? 0 : name.find("-kubepods-");
  const auto at = begin == std::string_view::npos ? begin : name.find("-pod", begin + all_pods.size());
  if (at == std::string_view::npos) return {};
  std::string uid(name.substr(at + 4));
  std::replace(uid.begin(), uid.end(), '_', '-');
  return uid;
}

}  // namespace

std::string pod_of_cgroup(std::string_view text, const std::set<std::string, std::less<>>& wanted) {
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto first = line.find(':');
    const auto second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    line.remove_prefix(second + 1);
    while (!line.empty()) {
      const auto slash = std::min(line.find('/'), line.size());
      if (const std::string uid = uid_in(line.substr(0, slash)); wanted.contains(uid)) return uid;
      line.remove_prefix(std::min(slash + 1, line.size()));
    }
  }
  return {};
}

bool is_pods_cgroup_name(std::string_view name) {
  return name == all_pods || name == "kubepods.slice" || name.ends_with("-kubepods.slice");
}

std::string_view pods_cgroup_part(std::string_view path) {
  std::size_t begin = 0;
  while (begin < path.size()) {
    const auto end = std::min(path.find('/', begin), path.size());
    if (is_pods_cgroup_name(path.substr(begin, end - begin))) return path.substr(0, end);
    begin = end + 1;
  }
  return {};
}

}  // namespace heddle::agent
