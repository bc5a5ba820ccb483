// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace heddle::cni {

// File operations of the installer on a runtime's configuration folder.

constexpr std::string_view own_list_name = "00-heddle.conflist";
constexpr std::string_view backup_suffix = ".heddle-backup";
constexpr std::string_view original_suffix = ".heddle-original";
constexpr std::string_view new_suffix = ".heddle-new";  // while a file is being replaced

// Names a runtime would load (.conf, .conflist, .json), sorted by bytes, own_list_name excluded.
Result<std::vector<std::string>> configuration_names(const std::string& folder);

bool is_list(std::string_view name);
// "10-net.conf" -> "10-net"
std::string stem(std::string_view name);

struct ConfFile {
  std::string path;  // symbolic links resolved, so that a link is never replaced by a file
  std::string text;
  mode_t mode = 0644;
};
Result<ConfFile> read_conf(const std::string& path);

// Replaces the file unless it changed since it was read (Errc::unavailable: somebody else is at it, read it
// again). A file that somebody puts there at the same moment stays (RENAME_EXCHANGE, renameat2(2)).
Result<> replace_conf(const ConfFile& file, std::string_view text);

bool exists(const std::string& path);
// Removes what an installer that was killed left unfinished in a folder. Nobody else may be at it.
void remove_leftovers(const std::string& folder);
// Absent is as good as removed.
Result<> remove_file(const std::string& path);
Result<> rename_file(const std::string& from, const std::string& to);

// Held by one installer at a time, until destruction (flock(2) on the folder).
Result<Fd> lock_folder(const std::string& folder);

}  // namespace heddle::cni
