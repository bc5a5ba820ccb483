// SPDX-License-Identifier: Apache-2.0
#include "agent/pods/find_netns.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "agent/liveness.h"
#include "agent/pods/pod_cgroup.h"
#include "base/io/netns.h"

namespace heddle::agent {
namespace {

// Of one process, whatever its number is given to meanwhile.
std::string cgroup_of(int process) {
  const Fd file(::openat(process, "cgroup", O_RDONLY | O_CLOEXEC));
  std::string out;
  char piece[4096];
  while (file && out.size() < 64 * 1024) {
    const ssize_t got = ::read(file.get(), piece, sizeof piece);
    if (got <= 0) break;
    out.append(piece, static_cast<std::size_t>(got));
  }
  return out;
}

std::vector<int> processes() {
  std::vector<int> out;
  DIR* folder = ::opendir("/proc");
  if (folder == nullptr) return out;
  while (const dirent* entry = ::readdir(folder)) {
    const int pid = std::atoi(entry->d_name);
    if (pid > 0) out.push_back(pid);
  }
  ::closedir(folder);
  return out;
}

bool has_one_of(const std::vector<IpAddress>& there, const std::vector<IpAddress>& wanted) {
  return std::any_of(wanted.begin(), wanted.end(), [&](const IpAddress& ip) {
    return std::find(there.begin(), there.end(), ip) != there.end();
  });
}

// Empty unless the namespace has one of the addresses.
FoundNetns look_into(Fd netns, const std::vector<IpAddress>& wanted) {
  FoundNetns out;
  {
    auto scope = ScopedNetns::enter(netns.get());
    if (!scope) return {};
    auto addresses = local_addresses();
    if (!addresses || !has_one_of(*addresses, wanted)) return {};
    out.addresses = std::move(*addresses);
  }
  const auto cookie = netns_cookie(netns.get());
  if (!cookie) return {};
  out.cookie = *cookie;
  out.netns = std::move(netns);
  return out;
}

}  // namespace

std::map<std::string, FoundNetns> find_netns(
    const std::map<std::string, std::vector<IpAddress>>& ips_by_uid) {
  std::map<std::string, FoundNetns> out;
  std::set<std::string, std::less<>> wanted;
  for (const auto& [uid, ips] : ips_by_uid) wanted.insert(uid);
  const std::uint64_t own = netns_inode("/proc/self/ns/net");
  std::set<std::pair<std::string, std::uint64_t>> seen;
  for (const int pid : processes()) {
    if (wanted.empty()) break;
    const Fd process(::open(("/proc/" + std::to_string(pid)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!process) continue;
    const std::string uid = pod_of_cgroup(cgroup_of(process.get()), wanted);
    if (uid.empty()) continue;
    Fd netns(::openat(process.get(), "ns/net", O_RDONLY | O_CLOEXEC));
    const std::uint64_t inode = netns ? netns_inode(netns.get()) : 0;
    if (inode == 0 || inode == own || !seen.insert({uid, inode}).second) continue;
    auto found = look_into(std::move(netns), ips_by_uid.at(uid));
    if (!found.netns) continue;
    out.emplace(uid, std::move(found));
    wanted.erase(uid);
  }
  return out;
}

}  // namespace heddle::agent
