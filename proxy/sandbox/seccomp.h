// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/result.h"

namespace heddle::proxy {

// Allows this process and its future threads only the system calls of an event-driven network program:
// everything else fails with EPERM, and what only an attacker would call (execve, ptrace, mount, setns, bpf,
// kernel modules, ...) ends the process. Needs no_new_privs. Call before threads are started: it holds for
// this thread and its children.
Result<> restrict_system_calls();

}  // namespace heddle::proxy
