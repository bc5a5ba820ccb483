// SPDX-License-Identifier: Apache-2.0
#include "tools/commands/scope.h"

#include <CLI/CLI.hpp>

namespace heddle::tools {

void add_scope_flags(CLI::App& command, Scope& scope) {
  command.add_option("--run-dir", scope.run_dir,
                     "Run folder of one node's heddle (default: the lab that is up, "
                     "else /run/heddle, else the cluster of kubectl's configuration)");
  command.add_option("--lab", scope.lab, "All nodes of this lab");
  auto* kubeconfig =
      command.add_option("--kubeconfig", scope.cluster.kubeconfig, "All nodes of the cluster of this file");
  auto* context =
      command.add_option("--context", scope.cluster.context, "All nodes of the cluster of this context");
  for (auto* option : {kubeconfig, context}) option->excludes("--run-dir")->excludes("--lab");
  command.add_option("--control-namespace", scope.cluster.control_namespace, "Where heddle is installed")
      ->envname("HEDDLE_CONTROL_NAMESPACE")
      ->capture_default_str();
  command.add_flag("--insecure-skip-tls-verify", scope.cluster.insecure_skip_tls_verify,
                   "Do not verify the API server's certificate");
}

}  // namespace heddle::tools
