// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

// Whether a network namespace still belongs to somebody besides heddle, whose own descriptors keep it alive.
namespace heddle::agent {

// Inode of a netns file; 0 when there is none at the path (or it cannot be reached).
std::uint64_t netns_inode(const std::string& path);
std::uint64_t netns_inode(int fd);

// Where no netns was found: its file was removed, as runtimes do with a netns. A folder that is not there, or
// a file that is no netns, say only that the path cannot be seen from here (a mount that did not come along).
bool is_removed(const std::string& path);

// Inodes of the network namespaces of all processes this process can see (/proc).
std::unordered_set<std::uint64_t> inhabited_netns();

// Keeps a netns reachable that the runtime's path does not lead to from here (another mount namespace): a
// bind mount at `path`, until unpin_netns(). The bind mount keeps the netns alive.
Result<> pin_netns(int netns_fd, const std::string& path);
// What is pinned in a folder, by name.
std::vector<std::string> pinned_names(const std::string& folder);
// Idempotent.
void unpin_netns(const std::string& path);

}  // namespace heddle::agent
