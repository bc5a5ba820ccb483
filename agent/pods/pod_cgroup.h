// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>
#include <string_view>

// Which pod a process is of, by the kubelet's names of cgroups. Pure.
namespace heddle::agent {

// Of `wanted` (uids of pods), the one whose cgroup the process is in; empty: none. `text` is that of
// /proc/PID/cgroup (cgroups(7)): ".../kubepods/burstable/podUID/..." or, where systemd makes the cgroups,
// ".../kubepods-burstable-podUID.slice/..." with '_' for each '-' of the uid. The outermost name decides:
// what is below it a pod may have made itself.
std::string pod_of_cgroup(std::string_view text, const std::set<std::string, std::less<>>& wanted);

}  // namespace heddle::agent
