// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace heddle {

// Where cgroup v2 is mounted: /sys/fs/cgroup on most machines, /sys/fs/cgroup/unified on hybrid ones. Read
// from /proc/self/mountinfo, never assumed (cgroups(7)). Errc::unsupported when there is none.
Result<std::string> cgroup2_mount();
// The pure half: finds the mount in the text of a mountinfo file (proc(5)). Of several, the first that shows
// the whole tree.
Result<std::string> find_cgroup2_mount(std::string_view mountinfo);
// Where controllers of cgroup v1 are mounted, in the same text; none on a pure cgroup v2 machine.
std::vector<std::string> find_cgroup1_mounts(std::string_view mountinfo);

// Moves the calling thread, and what it starts from then on, into the cgroup namespace of process 1: for a
// container that sees the node's processes, the node's. On cgroup v2 runtimes give each container a
// namespace of its own, in which its cgroup is "/" and paths of others lead up; what process 1 sees is what
// the node's /sys/fs/cgroup shows. Does nothing there. Needs CAP_SYS_ADMIN, and CAP_SYS_PTRACE where process
// 1 can do more than this one.
Result<> enter_node_cgroup_namespace();
// Whether paths of cgroups mean the kernel's own tree here: nat rules are only then matched by path on every
// kernel.
bool in_initial_cgroup_namespace();

// The folder below `mount` of the cgroup v2 that a process is in, as the calling thread's cgroup namespace
// tells. Errc::not_found if the process is not in there, because `mount` does not show that part of the tree.
Result<std::string> cgroup2_folder(const std::string& mount, pid_t pid);

}  // namespace heddle
