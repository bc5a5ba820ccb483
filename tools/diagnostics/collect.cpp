// SPDX-License-Identifier: Apache-2.0
#include "tools/diagnostics/collect.h"

#include <ctime>
#include <iostream>

#include "base/io/file.h"
#include "tools/commands/command.h"
#include "tools/output/error_text.h"
#include "tools/output/table.h"

namespace heddle::tools {
namespace {

std::string name_of(std::time_t at) {
  std::tm parts{};
  ::gmtime_r(&at, &parts);
  char text[48];
  std::strftime(text, sizeof text, "heddle-diagnostics-%Y%m%dT%H%M%SZ", &parts);
  return text;
}

}  // namespace

void tell_progress(const std::string& what) {
  std::cerr << "heddle: " << what << "\n";
}

int write_diagnostics(const DiagnosticsFlags& flags) {
  const auto at = std::time(nullptr);
  const auto name = name_of(at);
  const auto file = flags.file.empty() ? name + ".tar.gz" : flags.file;
  Bundle bundle;
  const bool cluster = is_cluster(flags.scope);
  bundle.say("heddle", boost::json::string(flags.version));
  bundle.say("of", cluster ? "cluster" : !flags.scope.run_dir.empty() ? "node" : "lab or node");
  bundle.say("since", boost::json::string(time_text(at - flags.since.count())));
  boost::json::array namespaces;
  for (const auto& ns : flags.namespaces) namespaces.emplace_back(ns);
  if (!namespaces.empty() && !flags.redact_names) bundle.say("namespaces", std::move(namespaces));
  collect_views(bundle, flags);
  auto nodes = nodes_in(flags.scope);
  if (!nodes) {
    bundle.missing("nodes", error_text(nodes.error()));
    nodes = std::vector<NodeView>();
  }
  collect_nodes(bundle, flags, *nodes);
  if (cluster) collect_cluster(bundle, flags, *nodes);
  if (flags.redact_names) bundle.rename();
  const auto archive = bundle.archive(name, at);
  if (!archive) return report(archive.error());
  if (auto written = write_file_atomically(file, *archive, 0600); !written) return report(written.error());
  std::cout << file << "\n";
  tell_progress(std::to_string(bundle.file_count()) + " files, " +
                scaled(static_cast<double>(archive->size())) + "B");
  if (bundle.complete()) return 0;
  tell_progress(std::to_string(bundle.missing_count()) +
                " things could not be collected: see \"missing\" in its manifest.json");
  return 1;
}

}  // namespace heddle::tools
