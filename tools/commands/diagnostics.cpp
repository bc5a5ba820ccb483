// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>

#include "tools/commands/command.h"
#include "tools/commands/scope.h"
#include "tools/diagnostics/collect.h"

namespace heddle::tools {
namespace {

struct Flags {
  DiagnosticsFlags bundle;
  std::uint64_t since_s = 24UL * 3600;
  std::string cni_folder;
};

void add_bundle(CLI::App& app, Chosen& chosen, Flags& flags) {
  auto* bundle = app.add_subcommand(
      "bundle", "Collect what a report of a problem needs into one .tar.gz, without credentials");
  add_scope_flags(*bundle, flags.bundle.scope);
  bundle->add_option("-o,--output", flags.bundle.file,
                     "The file (default: heddle-diagnostics-TIME.tar.gz here)");
  bundle
      ->add_option(
          "-n,--namespace", flags.bundle.namespaces,
          "Objects of applications of this namespace only, repeatable (default: of all with meshed pods)")
      ->allow_extra_args(false);
  const std::map<std::string, std::uint64_t> units{{"s", 1}, {"m", 60}, {"h", 3600}, {"d", 86400}};
  bundle->add_option("--since", flags.since_s, "How far back logs and Events go: 90s, 30m, 24h, 7d")
      ->transform(CLI::AsNumberWithUnit(units, CLI::AsNumberWithUnit::UNIT_REQUIRED))
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{366} * 86400).description(""))
      ->default_str("24h");
  bundle->add_flag("--redact-names", flags.bundle.redact_names,
                   "Other names for pods, namespaces, services, nodes, images and values of labels");
  bundle->footer(
      "Examples:\n  heddle diagnostics bundle\n  heddle diagnostics bundle --context prod --since 2h -n shop "
      "-o "
      "shop.tar.gz\n\nEnds with 1 if something could not be collected: \"missing\" in the bundle's "
      "manifest.json.");
  bundle->callback([&] {
    chosen.run = [&] {
      flags.bundle.since = std::chrono::seconds(flags.since_s);
      flags.bundle.version = HEDDLE_VERSION;
      return write_diagnostics(flags.bundle);
    };
  });
}

}  // namespace

void add_diagnostics_commands(CLI::App& app, Chosen& chosen) {
  static Flags flags;
  auto* diagnostics = app.add_subcommand("diagnostics", "What a report of a problem needs");
  diagnostics->require_subcommand(1);
  add_bundle(*diagnostics, chosen, flags);
  auto* node = diagnostics->add_subcommand("node", "Facts of this machine, as JSON or YAML");
  node->add_option("--cni-conf-dir", flags.cni_folder, "And the network configurations of this folder");
  node->footer("Examples:\n  heddle diagnostics node --cni-conf-dir /etc/cni/net.d");
  node->callback([&] { chosen.run = [&] { return show_machine_facts(flags.cni_folder, chosen.output); }; });
}

}  // namespace heddle::tools
