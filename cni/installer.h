// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/result.h"
#include "cni/conflist.h"

namespace heddle::cni {

// Puts the plugin into the chain of the runtime's first network configuration (by file name, as containerd,
// CRI-O and podman choose it) and takes it out again. Every file is replaced atomically and keeps its mode.
// Beside an edited file X lies X.heddle-backup, what it was; a single X.conf becomes X.conflist and is kept
// as X.conf.heddle-original. Runtimes load neither.
struct InstallOptions {
  std::string conf_dir = "/etc/cni/net.d";
  std::string bin_dir = "/opt/cni/bin";   // empty: the plugin is already where the runtime looks
  std::string binary = "/proc/self/exe";  // what is copied to bin_dir/heddle-cni
  PluginEntry entry;
  bool leave_with_agent = false;  // watch() only
  bool own_first = false;  // leave the main file alone; keep a copy with heddle in it as 00-heddle.conflist
};

struct InstallReport {
  std::string file;  // that the runtime will use
  bool list_changed = false;
  bool binary_changed = false;
};

// Idempotent. Errc::not_found while there is no network configuration to join.
Result<InstallReport> install(const InstallOptions& options);

// Removes every trace from the folder, then the binary. Goes on after an error and reports the first.
Result<> uninstall(const InstallOptions& options);

}  // namespace heddle::cni
