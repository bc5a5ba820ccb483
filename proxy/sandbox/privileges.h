// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"

namespace heddle::proxy {

// Makes `path` (with its parents, 0755) and gives it to `uid`, mode 0700, when we are root; otherwise it must
// exist or be ours to make.
Result<> make_owned_folder(const std::string& path, uid_t uid);

// Leaves root for `uid` (and the group of that number) for good: no supplementary groups, no capability in
// any set, no_new_privs, not dumpable (ptrace(2), /proc/self/mem). Already another user: only the last two.
// Call while the process has one thread: capabilities and credentials are per thread.
Result<> drop_privileges(uid_t uid);

}  // namespace heddle::proxy
