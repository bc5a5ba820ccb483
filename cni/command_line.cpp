// SPDX-License-Identifier: Apache-2.0
#include "cni/command_line.h"

#include <CLI/CLI.hpp>

#include <iostream>

#include "cni/installer.h"
#include "cni/log.h"
#include "cni/watch.h"

#ifndef HEDDLE_VERSION
#error "HEDDLE_VERSION is defined by cni/CMakeLists.txt"
#endif

namespace heddle::cni {
namespace {

struct Arguments {
  InstallOptions options;
  std::string excluded_namespaces = std::string(default_excluded_namespace);
  bool watch = false;
  std::string log_level = "info";
  std::string log_format = "plain";
};

void add_folder_options(CLI::App& command, Arguments& arguments) {
  command
      .add_option("--conf-dir", arguments.options.conf_dir, "Folder of the runtime's network configurations")
      ->envname("HEDDLE_CONF_DIR")
      ->capture_default_str();
  command
      .add_option("--bin-dir", arguments.options.bin_dir,
                  "Folder where the runtime looks for plugins; empty: do not touch it")
      ->envname("HEDDLE_BIN_DIR")
      ->capture_default_str();
  command.add_option("--run-dir", arguments.options.entry.run_dir, "The agent's --run-dir")
      ->envname("HEDDLE_RUN_DIR")
      ->capture_default_str();
  command
      .add_option("--log-file", arguments.options.entry.log_file,
                  "File to which the plugin adds a line per operation (default: none)")
      ->envname("HEDDLE_LOG_FILE");
  command
      .add_option("--control-namespace", arguments.options.entry.control_namespace,
                  "Namespace of heddle itself, whose pods start without an agent")
      ->envname("HEDDLE_CONTROL_NAMESPACE")
      ->capture_default_str();
  command
      .add_option("--excluded-namespaces", arguments.excluded_namespaces,
                  "Namespaces that are never meshed, separated by commas; their pods start without an agent")
      ->envname("HEDDLE_EXCLUDED_NAMESPACES")
      ->capture_default_str();
  command
      .add_flag("--watch", arguments.watch,
                "Stay, and join again whenever somebody rewrites the configuration")
      ->envname("HEDDLE_WATCH");
  command
      .add_flag("--own-first", arguments.options.own_first,
                "Leave the main configuration alone; keep a copy with heddle in it as 00-heddle.conflist")
      ->envname("HEDDLE_OWN_FIRST");
  command
      .add_flag("--leave-with-agent", arguments.options.leave_with_agent,
                "With --watch: uninstall at the end when the agent says that heddle leaves this node")
      ->envname("HEDDLE_LEAVE_WITH_AGENT");
}

Result<> start_log(const Arguments& arguments) {
  const auto level = parse_log_level(arguments.log_level);
  if (!level) return level.error();
  if (arguments.log_format != "plain" && arguments.log_format != "json") {
    return make_error(Errc::invalid_argument,
                      "log format '" + arguments.log_format + "' is not plain or json");
  }
  set_log(*level, arguments.log_format == "json");
  return {};
}

// "a,b" -> {"a", "b"}; none of them empty.
std::vector<std::string> names_of(std::string_view list) {
  std::vector<std::string> out;
  while (!list.empty()) {
    const auto comma = list.find(',');
    if (comma != 0) out.emplace_back(list.substr(0, comma));
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
  }
  return out;
}

Result<> run_install(const Arguments& arguments) {
  if (arguments.options.entry.run_dir.empty() || arguments.options.entry.run_dir.front() != '/') {
    return make_error(Errc::invalid_argument, "--run-dir must be an absolute path");
  }
  if (arguments.watch) return watch(arguments.options);
  const auto report = install(arguments.options);
  if (!report) return report.error();
  log(LogLevel::info,
      (report->list_changed ? "joined the chain file=" : "already in the chain file=") + report->file);
  return {};
}

int finish(const Result<>& result) {
  if (result) return 0;
  log(LogLevel::error, result.error().message());
  return 1;
}

}  // namespace

int run_command_line(int argc, char** argv) {
  Arguments arguments;
  CLI::App app(
      "heddle's CNI plugin. A container runtime runs it with CNI_COMMAND set; a person runs it to put it\n"
      "into the runtime's chain of plugins or to take it out again.",
      "heddle-cni");
  app.set_version_flag("--version", "heddle-cni " HEDDLE_VERSION);
  app.add_option("--log-level", arguments.log_level, "trace, debug, info, warn, error or off")
      ->envname("HEDDLE_LOG_LEVEL")
      ->capture_default_str();
  app.add_option("--log-format", arguments.log_format, "plain or json")
      ->envname("HEDDLE_LOG_FORMAT")
      ->capture_default_str();
  app.require_subcommand(1);
  app.fallthrough();
  CLI::App* install =
      app.add_subcommand("install", "Copy the plugin and join the first configuration's chain");
  add_folder_options(*install, arguments);
  install->footer(
      "Example: heddle-cni install --conf-dir /host/etc/cni/net.d --bin-dir /host/opt/cni/bin --watch");
  CLI::App* uninstall = app.add_subcommand("uninstall", "Leave every chain and remove the plugin");
  add_folder_options(*uninstall, arguments);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (auto started = start_log(arguments); !started) {
    std::cerr << started.error().message() << "\n";
    return 2;
  }
  arguments.options.entry.excluded_namespaces = names_of(arguments.excluded_namespaces);
  if (install->parsed()) return finish(run_install(arguments));
  return finish(cni::uninstall(arguments.options));
}

}  // namespace heddle::cni
