// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>
#include <string_view>

// Which pod a process is of, by the kubelet's names of cgroups. Pure.
namespace heddle::agent {

// Of `wanted` (uids of pods), the one whose cgroup the process is in; empty: none. `text` is that of
// /proc/PID/cgroup (cgroups(7)): ".../kubepods/burstable/podUID/..." or, where systemd makes the cgroups,
// ".../kubepods-burstable-podUID.slice/..." with '_' for each '-' of the uid; the kubelet's own --cgroup-root
// goes in front ("kubelet-kubepods-..."). The outermost name decides: what is below it a pod may have made
// itself.
std::string pod_of_cgroup(std::string_view text, const std::set<std::string, std::less<>>& wanted);

// Whether the kubelet gives this name to the cgroup of all pods: "kubepods", "kubepods.slice" or, with a
// --cgroup-root, "ROOT-kubepods.slice".
bool is_pods_cgroup_name(std::string_view name);

// The outermost part of a path that has such a name at its end ("/kubelet.slice/kubelet-kubepods.slice");
// empty: none.
std::string_view pods_cgroup_part(std::string_view path);

}  // namespace heddle::agent
