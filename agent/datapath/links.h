// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "agent/datapath/datapath.h"
#include "agent/datapath/loader.h"

namespace heddle::agent {

// One program to be attached to one cgroup.
struct CgroupLink {
  std::string hook;
  std::string cgroup;  // absolute path

  auto operator<=>(const CgroupLink&) const = default;
};

// Which programs go where (pure).
std::vector<CgroupLink> planned_links(const Datapath::Options& options);

// Attaches and pins what is planned and missing below `folder`, moves every link found there to the object's
// program (bpf_link_update), and removes those whose cgroup is gone. Links of mesh hooks on other cgroups
// than planned stay: listeners and sockets made by an earlier agent belong to that agent's cgroup.
Result<> place_cgroup_links(const Object& object, const std::vector<CgroupLink>& planned,
                            const std::string& folder);

// Moves each pod's sk_lookup link to the object's program; removes those whose netns is gone.
Result<> refresh_netns_links(const Object& object, const std::string& folder);

// Attaches sk_lookup to a netns and pins the link, unless a live link is there already.
Result<> place_netns_link(const Object& object, int netns_fd, const std::string& path);

// The inode of the netns a pinned sk_lookup link is attached to: 0 when it is gone, Errc::not_found without a
// pin.
Result<std::uint32_t> pinned_netns(const std::string& path);

// The id of the cgroup of a pinned link: 0 when it is gone, Errc::not_found without a pin.
Result<std::uint64_t> pinned_cgroup(const std::string& path);

// The id of a cgroup: the inode number of its folder.
Result<std::uint64_t> cgroup_id(const std::string& path);

// Pin's name of a planned link.
Result<std::string> link_name(const CgroupLink& link);

}  // namespace heddle::agent
