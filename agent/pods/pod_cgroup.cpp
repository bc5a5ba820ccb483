// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/pod_cgroup.h"

#include <algorithm>

namespace heddle::agent {
namespace {

// "podUID" or "kubepods-besteffort-podUID.slice"; empty: another kind of name.
std::string uid_in(std::string_view name) {
  constexpr std::string_view slice = ".slice";
  if (!name.ends_with(slice)) return name.starts_with("pod") ? std::string(name.substr(3)) : std::string();
  name.remove_suffix(slice.size());
  const auto at = name.find("-pod");
  if (!name.starts_with("kubepods") || at == std::string_view::npos) return {};
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

}  // namespace heddle::agent
