// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cni/config.h"

// Edits of a runtime's network configuration files (CNI specification, "Section 1"). PURE. Text is spliced,
// never printed anew: name, version, key order, indentation and unknown keys stay, and removing what was
// added gives the file back byte by byte. Errors are Errc::invalid_argument with the reason; nothing is ever
// half edited.
namespace heddle::cni {

constexpr std::string_view plugin_type = "heddle-cni";
constexpr std::size_t max_conflist_bytes = 1024 * 1024;

// The keys of heddle's own entry.
struct PluginEntry {
  std::string run_dir = "/run/heddle";
  std::string log_file;  // empty: none
  // Written only where they differ from what the plugin takes without them.
  std::string control_namespace = std::string(default_control_namespace);
  std::vector<std::string> excluded_namespaces{std::string(default_excluded_namespace)};
};
std::string entry_text(const PluginEntry& entry);

// The list with `entry` as its last plugin. A list that has it already stays as it is; one with another
// version of it gets the keys of `entry` put right in place and keeps further ones; one that starts with it
// (nobody has made an interface yet) gets it moved to the end.
Result<std::string> add_plugin(std::string_view list, std::string_view entry);

// The list without heddle's entries; unchanged when there are none.
Result<std::string> remove_plugin(std::string_view list);

Result<bool> has_plugin(std::string_view list);

// A list holding the one plugin of a .conf file, which is kept verbatim. A cniVersion that lists of plugins
// cannot have (none, or older than 0.3.1) becomes 0.3.1, as runtimes would otherwise pass no result along.
Result<std::string> list_from_conf(std::string_view conf);

}  // namespace heddle::cni
