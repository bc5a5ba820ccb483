// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace heddle::tools {

// A file or folder shown at another place to one process (mount(2) MS_BIND in its own mount namespace).
struct BindMount {
  std::string source;
  std::string target;
};

// Everything about a child process, in the order it takes effect: cgroup, network namespace, mounts, user,
// exec.
struct SpawnSpec {
  std::vector<std::string> argv;           // argv[0] is looked up in PATH
  std::map<std::string, std::string> env;  // added to the caller's environment, or all of it if `clear_env`
  bool clear_env = false;                  // keeps PATH only
  std::string working_directory;           // empty: the caller's
  std::string cgroup;                      // absolute folder of a cgroup v2; empty: the caller's
  int netns = -1;                          // descriptor of a network namespace; -1: the caller's
  std::string hostname;                    // non-empty: in a host name (UTS) namespace of its own
  int mount_ns_of = -1;                    // pid whose mount and host name namespaces to enter; -1: none
  std::vector<BindMount> mounts;           // non-empty: a private mount namespace
  bool scratch_mnt = false;                // an empty tmpfs on /mnt before `mounts`, for targets below it
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::string output_file;  // stdout and stderr appended here; empty: inherited
  bool null_stdin = true;
  std::size_t kept_output = 1024 * 1024;  // run(): bytes of stdout, and of stderr; the rest is dropped
  bool new_session = true;                // setsid(2): the terminal's Ctrl-C does not reach it
};

// Forks and execs. Returns once the exec succeeded; every step that fails in the child is this function's
// error.
Result<pid_t> spawn(const SpawnSpec& spec);

// How a finished child ended.
struct Exit {
  int status = 0;  // as waitpid(2) gives it
  bool ok() const { return status == 0; }
  // "exit code 3" or "signal 9".
  std::string to_string() const;
};

struct Finished {
  Exit exit;
  std::string out;
  std::string err;
  bool timed_out = false;  // it was killed with SIGKILL
};

// Runs a program to its end with `input` on its stdin. Output is bounded (`kept_output`). Blocks.
Result<Finished> run(const SpawnSpec& spec, const std::string& input = {},
                     std::chrono::milliseconds timeout = std::chrono::seconds(30));

// Like run(), but any ending except exit code 0 is an error that quotes stderr.
Result<std::string> run_checked(const SpawnSpec& spec, const std::string& input = {},
                                std::chrono::milliseconds timeout = std::chrono::seconds(30));

}  // namespace heddle::tools
