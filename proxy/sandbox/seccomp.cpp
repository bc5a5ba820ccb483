// SPDX-License-Identifier: Apache-2.0
#include "proxy/sandbox/seccomp.h"

#include <seccomp.h>

#include <cerrno>
#include <memory>
#include <span>
#include <string>

namespace heddle::proxy {
namespace {

// Grouped by who needs them. A name that this libseccomp does not know is skipped.
constexpr const char* allowed[] = {
    // workers, link, admin: descriptors, sockets, events
    "read", "readv", "write", "writev", "pread64", "pwrite64", "recvfrom", "recvmsg", "recvmmsg", "sendto",
    "sendmsg", "sendmmsg", "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4",
    "shutdown", "getsockname", "getpeername", "getsockopt", "setsockopt", "close", "close_range", "dup",
    "dup2", "dup3", "fcntl", "pipe", "pipe2", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
    "epoll_pwait2", "poll", "ppoll", "select", "pselect6", "eventfd2", "timerfd_create", "timerfd_settime",
    "timerfd_gettime", "signalfd4", "splice", "ioctl",
    // files: trust anchors, resolver, time zone, /proc/self for metrics, the admin socket
    "open", "openat", "openat2", "stat", "fstat", "lstat", "newfstatat", "statx", "statfs", "fstatfs",
    "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64", "lseek", "unlink", "rename",
    "renameat", "renameat2", "unlinkat", "chmod", "fchmod", "fchmodat", "umask", "getcwd", "fadvise64",
    "flock",
    // threads, memory, signals, time
    "clone", "clone3", "exit", "exit_group", "futex", "futex_waitv", "set_robust_list", "get_robust_list",
    "rseq", "set_tid_address", "gettid", "getpid", "getppid", "tgkill", "sched_yield", "sched_getaffinity",
    "sched_setaffinity", "sched_getparam", "sched_getscheduler", "sched_get_priority_max",
    "sched_get_priority_min", "getcpu", "mmap", "munmap", "mremap", "mprotect", "madvise", "brk",
    "membarrier", "mlock", "munlock", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigtimedwait",
    "sigaltstack", "restart_syscall", "nanosleep", "clock_nanosleep", "clock_gettime", "clock_getres",
    "gettimeofday", "time", "getrandom", "getrusage", "times", "uname", "sysinfo", "getrlimit", "prlimit64",
    "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "prctl", "arch_prctl",
    "wait4", "kill"};

constexpr const char* deadly[] = {"execve",
                                  "execveat",
                                  "ptrace",
                                  "process_vm_readv",
                                  "process_vm_writev",
                                  "mount",
                                  "umount2",
                                  "move_mount",
                                  "open_tree",
                                  "fsopen",
                                  "fsconfig",
                                  "fsmount",
                                  "pivot_root",
                                  "chroot",
                                  "setns",
                                  "unshare",
                                  "bpf",
                                  "perf_event_open",
                                  "init_module",
                                  "finit_module",
                                  "delete_module",
                                  "kexec_load",
                                  "kexec_file_load",
                                  "reboot",
                                  "swapon",
                                  "swapoff",
                                  "keyctl",
                                  "add_key",
                                  "request_key",
                                  "userfaultfd",
                                  "io_uring_setup",
                                  "iopl",
                                  "ioperm",
                                  "acct",
                                  "settimeofday",
                                  "clock_settime",
                                  "adjtimex",
                                  "sethostname",
                                  "setdomainname",
                                  "quotactl",
                                  "name_to_handle_at",
                                  "open_by_handle_at",
                                  "pidfd_getfd",
                                  "setuid",
                                  "setgid",
                                  "setresuid",
                                  "setresgid",
                                  "setreuid",
                                  "setregid",
                                  "setgroups",
                                  "capset"};

Result<> add_rules(scmp_filter_ctx filter, std::uint32_t action, std::span<const char* const> names) {
  for (const char* name : names) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) continue;
    const int failed = seccomp_rule_add(filter, action, number, 0);
    // -EDOM: this architecture does not have the call.
    if (failed != 0 && failed != -EDOM) return make_errno(-failed, std::string("seccomp rule for ") + name);
  }
  return {};
}

}  // namespace

Result<> restrict_system_calls() {
  const std::unique_ptr<void, void (*)(void*)> filter(seccomp_init(SCMP_ACT_ERRNO(EPERM)), seccomp_release);
  if (!filter) return make_error(Errc::unsupported, "libseccomp cannot make a filter");
  if (auto added = add_rules(filter.get(), SCMP_ACT_ALLOW, allowed); !added) return added;
  if (auto added = add_rules(filter.get(), SCMP_ACT_KILL_PROCESS, deadly); !added) return added;
  // Whatever thread a library started already gets it too.
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_TSYNC, 1);
  seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a binary tree: the list is long
  if (const int failed = seccomp_load(filter.get()); failed != 0) {
    return make_errno(-failed, "cannot load the seccomp filter");
  }
  return {};
}

}  // namespace heddle::proxy
