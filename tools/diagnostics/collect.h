// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "tools/commands/command.h"
#include "tools/diagnostics/bundle.h"
#include "tools/views/node.h"

namespace heddle::tools {

struct DiagnosticsFlags {
  Scope scope;
  std::vector<std::string> namespaces;                 // of applications; empty: those with meshed pods
  std::chrono::seconds since{std::chrono::hours(24)};  // of logs and Events
  std::string file;                                    // empty: named by the time, in the current folder
  bool redact_names = false;                           // of pods, namespaces, nodes, ..: others instead
  std::string version;                                 // of this command
};

// `heddle diagnostics bundle`: writes the file (0600), tells on stderr what it does, and prints the file's
// name. 0: all is in it; 1: something is missing, which its manifest names, or no file could be written.
int write_diagnostics(const DiagnosticsFlags& flags);

// `heddle diagnostics node`: facts of this machine as JSON (tables too) or YAML, and the network
// configurations of `cni_folder` unless it is empty.
int show_machine_facts(const std::string& cni_folder, Output output);

// The parts of a bundle. Each goes on after whatever fails and notes it.
// What the other commands say, each run as a person would run it.
void collect_views(Bundle& out, const DiagnosticsFlags& flags);
// Agents, proxies and facts of the nodes.
void collect_nodes(Bundle& out, const DiagnosticsFlags& flags, const std::vector<NodeView>& nodes);
// Objects, Events and logs, from the API server.
void collect_cluster(Bundle& out, const DiagnosticsFlags& flags, const std::vector<NodeView>& nodes);

// A line on stderr: what is being done.
void tell_progress(const std::string& what);

}  // namespace heddle::tools
