// SPDX-License-Identifier: Apache-2.0
#include "tools/demonstration/demo.h"

#include <CLI/CLI.hpp>
#include <filesystem>

#include "tools/commands/command.h"

namespace heddle::tools {
namespace {

// The demo's objects: beside an installed program, or in the source tree this was built from.
std::string demo_folder() {
  const auto beside = std::filesystem::path(own_program()).parent_path();
  for (const auto& folder :
       {beside / "../share/heddle/examples/demo", std::filesystem::path(HEDDLE_EXAMPLES) / "demo"}) {
    std::error_code failed;
    if (std::filesystem::is_directory(folder, failed))
      return std::filesystem::weakly_canonical(folder, failed);
  }
  return HEDDLE_EXAMPLES "/demo";
}

}  // namespace

void add_demo_command(CLI::App& app, Chosen& chosen) {
  static DemoOptions options;
  auto* demo = app.add_subcommand("demo", "Watch heddle do its job on real traffic, with measured numbers");
  demo->add_flag("--keep", options.keep, "Leave the lab up afterwards");
  demo->add_flag("--json", options.json, "Print one JSON document at the end (same as -o json)");
  demo->add_option("--interception", options.interception,
                   "auto: eBPF, then the same with iptables; ebpf or iptables: only that one")
      ->check(CLI::IsMember({"auto", "ebpf", "iptables"}))
      ->envname("HEDDLE_INTERCEPTION")
      ->capture_default_str();
  demo->add_option("--name", options.name, "The lab's name")->capture_default_str();
  demo->add_option("--folder", options.folder,
                   "Other Kubernetes objects with the same names of pods and services");
  demo->add_option("--bin-dir", options.bin_dir, "Folder of heddle's programs (default: beside this one)");
  demo->footer(
      "Examples:\n  sudo heddle demo\n  sudo heddle demo --keep\n  sudo heddle demo --json --interception "
      "iptables");
  demo->callback([&] {
    chosen.run = [&] {
      options.json = options.json || chosen.output == Output::json;
      if (options.folder.empty()) options.folder = demo_folder();
      return run_demo(options);
    };
  });
}

}  // namespace heddle::tools
