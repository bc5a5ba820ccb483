// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace heddle {

// Where cgroup v2 is mounted: /sys/fs/cgroup on most machines, /sys/fs/cgroup/unified on hybrid ones. Read
// from /proc/self/mountinfo, never assumed (cgroups(7)). Errc::unsupported when there is none.
Result<std::string> cgroup2_mount();
// The pure half: finds the mount in the text of a mountinfo file (proc(5)).
Result<std::string> find_cgroup2_mount(std::string_view mountinfo);

// The calling process's own cgroup v2, as a path below the mount ("/", "/kubepods/...").
Result<std::string> own_cgroup2();

}  // namespace heddle
