// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"

namespace heddle::agent {

// Runs `work` in a forked child inside the network namespace (a new one for -1), with cgroup v2 at
// /sys/fs/cgroup in a mount namespace of its own, where libnftables looks for it. Returns what `work`
// returned; kills the child and what it started when the limit passes (Errc::timeout). The caller's thread
// and namespace are never touched.
Result<std::string> in_netns_child(int netns_fd, const std::function<Result<std::string>()>& work,
                                   std::chrono::milliseconds limit);

// For use inside the child: runs a program found in the system's sbin folders, feeds it `input`, returns its
// stdout. Errc::unsupported when the program is not installed; on failure the error holds what it wrote to
// stderr.
Result<std::string> run_program(const std::vector<std::string>& arguments, const std::string& input);

}  // namespace heddle::agent
