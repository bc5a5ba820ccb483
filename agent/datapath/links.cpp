// SPDX-License-Identifier: Apache-2.0
#include "agent/datapath/links.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "agent/datapath/pins.h"

namespace heddle::agent {
namespace {

Result<bpf_link_info> link_info(const std::string& path, Fd* keep = nullptr) {
  auto fd = open_pin(path);
  if (!fd) return fd.error();
  if (!*fd) return make_error(Errc::not_found, "there is no pinned link " + path);
  bpf_link_info info{};
  __u32 size = sizeof info;
  if (bpf_obj_get_info_by_fd(fd->get(), &info, &size) != 0)
    return make_errno(errno, "cannot inspect the link " + path);
  if (keep != nullptr) *keep = std::move(*fd);
  return info;
}

// Mesh hooks serve sockets of earlier agents as long as these live.
bool may_stay_on_other_cgroups(std::string_view hook) {
  return hook.starts_with("getsockname") || hook == "getsockopt" || hook == "setsockopt";
}

Result<> attach_to_cgroup(const Object& object, const CgroupLink& link, const std::string& pin_path) {
  const Fd cgroup(::open(link.cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup) return make_errno(errno, "cannot open the cgroup " + link.cgroup);
  const Fd fd(bpf_link_create(object.program(link.hook), cgroup.get(),
                              static_cast<bpf_attach_type>(attach_type(link.hook)), nullptr));
  if (!fd) return make_errno(errno, "cannot attach " + link.hook + " to the cgroup " + link.cgroup);
  return pin(fd.get(), pin_path);
}

Result<> unlink_pin(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return make_errno(errno, "cannot remove the pin " + path);
  return {};
}

// One link found from before: to the new program, or away with it.
Result<> refresh_cgroup_link(const Object& object, const std::string& folder, const std::string& name,
                             bool planned) {
  const std::string path = folder + "/" + name;
  const std::string hook = name.substr(0, name.rfind('-'));
  const int program = object.program(hook);
  Fd link;
  const auto info = link_info(path, &link);
  if (!info) return info.error();
  const bool wanted = planned || may_stay_on_other_cgroups(hook);
  if (program < 0 || info->cgroup.cgroup_id == 0 || !wanted) return unlink_pin(path);
  if (bpf_link_update(link.get(), program, nullptr) != 0) {
    return make_errno(errno, "cannot move the link " + path + " to the new program");
  }
  return {};
}

}  // namespace

std::vector<CgroupLink> planned_links(const Datapath::Options& options) {
  std::vector<CgroupLink> out;
  for (const char* hook : {"getpeername4", "getpeername6", "sockops"})
    out.push_back({hook, options.pods_cgroup});
  for (const char* hook : {"getsockname4", "getsockname6", "getsockopt", "setsockopt"})
    out.push_back({hook, options.mesh_cgroup});
  if (!options.probe_cgroup.empty()) out.push_back({"probe_sockops", options.probe_cgroup});
  // Last: no connect is redirected before everything that serves it is in place.
  for (const char* hook : {"connect4", "connect6"}) out.push_back({hook, options.pods_cgroup});
  return out;
}

Result<std::uint64_t> cgroup_id(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return make_errno(errno, "cannot find the cgroup " + path);
  return static_cast<std::uint64_t>(info.st_ino);
}

Result<std::string> link_name(const CgroupLink& link) {
  const auto id = cgroup_id(link.cgroup);
  if (!id) return id.error();
  return link.hook + "-" + std::to_string(*id);
}

Result<> place_cgroup_links(const Object& object, const std::vector<CgroupLink>& planned,
                            const std::string& folder) {
  std::set<std::string> planned_names;
  for (const auto& link : planned) {
    const auto name = link_name(link);
    if (!name) return name.error();
    planned_names.insert(*name);
    const auto present = pinned_cgroup(folder + "/" + *name);
    if (present && *present != 0) continue;
    if (present) {
      if (auto ok = unlink_pin(folder + "/" + *name); !ok) return ok;
    }
    if (auto ok = attach_to_cgroup(object, link, folder + "/" + *name); !ok) return ok;
  }
  for (const auto& name : entries(folder)) {
    if (auto ok = refresh_cgroup_link(object, folder, name, planned_names.contains(name)); !ok) return ok;
  }
  return {};
}

Result<> refresh_netns_links(const Object& object, const std::string& folder) {
  for (const auto& name : entries(folder)) {
    const std::string path = folder + "/" + name;
    Fd link;
    const auto info = link_info(path, &link);
    if (!info) return info.error();
    if (info->netns.netns_ino == 0) {
      if (auto ok = unlink_pin(path); !ok) return ok;
      continue;
    }
    // The netns may end at any moment, which makes the link a dead one (ENOLINK).
    if (bpf_link_update(link.get(), object.program("sk_lookup"), nullptr) != 0 && errno != ENOLINK) {
      return make_errno(errno, "cannot move the link " + path + " to the new program");
    }
  }
  return {};
}

Result<> place_netns_link(const Object& object, int netns_fd, const std::string& path) {
  struct stat netns{};
  if (::fstat(netns_fd, &netns) != 0) return make_errno(errno, "cannot inspect the network namespace");
  const auto present = pinned_netns(path);
  if (present && *present == netns.st_ino) return {};
  if (present) {
    if (auto ok = unlink_pin(path); !ok) return ok;
  }
  const Fd link(bpf_link_create(object.program("sk_lookup"), netns_fd, BPF_SK_LOOKUP, nullptr));
  if (!link) return make_errno(errno, "cannot attach sk_lookup to the pod's network namespace");
  return pin(link.get(), path);
}

Result<std::uint32_t> pinned_netns(const std::string& path) {
  const auto info = link_info(path);
  if (!info) return info.error();
  return info->netns.netns_ino;
}

Result<std::uint64_t> pinned_cgroup(const std::string& path) {
  const auto info = link_info(path);
  if (!info) return info.error();
  return static_cast<std::uint64_t>(info->cgroup.cgroup_id);
}

}  // namespace heddle::agent
