// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <functional>
#include <iostream>
#include <optional>

#include "tools/commands/command.h"
#include "tools/output/document.h"
#include "tools/output/error_text.h"
#include "tools/output/jsonpath.h"
#include "tools/output/jsonpath_stream.h"

#ifndef HEDDLE_VERSION
#define HEDDLE_VERSION "0.1.0"
#endif

namespace {

constexpr std::string_view jsonpath = "jsonpath=";
constexpr const char* formats = "table, wide, json, yaml or jsonpath=TEMPLATE; check also short or junit";

// The command with what it prints going through a template.
int run_through(heddle::tools::JsonPath path, const std::function<int()>& run) {
  heddle::tools::JsonPathStream stream(std::move(path), *std::cout.rdbuf());
  auto* const before = std::cout.rdbuf(&stream);
  const int code = run();
  std::cout.rdbuf(before);
  std::cout.flush();
  const auto done = stream.finish();
  return done ? code : heddle::tools::report(done.error());
}

}  // namespace

int main(int argc, char** argv) {
  using namespace heddle::tools;
  CLI::App app("heddle: an eBPF service mesh for a node. Look at it, try it in a lab, see a demo.", "heddle");
  Chosen chosen;
  app.require_subcommand(1);
  app.set_version_flag("--version", "heddle " HEDDLE_VERSION);
  app.fallthrough();
  const std::map<std::string, Output> outputs{{"table", Output::table},      {"json", Output::json},
                                              {"yaml", Output::yaml},        {"wide", Output::wide},
                                              {"short", Output::short_list}, {"junit", Output::junit}};
  std::optional<JsonPath> path;
  const auto choose = [&](const std::string& word) {
    if (word.starts_with(jsonpath)) {
      const auto parsed = JsonPath::parse(std::string_view(word).substr(jsonpath.size()));
      if (!parsed) throw CLI::ValidationError("--output", error_text(parsed.error()));
      path = *parsed;
      chosen.output = Output::json;
      return;
    }
    const auto found = outputs.find(word);
    if (found == outputs.end()) throw CLI::ValidationError("--output", word + " is none of " + formats);
    path.reset();
    chosen.output = found->second;
  };
  app.add_option_function<std::string>("-o,--output", choose, formats)->envname("HEDDLE_OUTPUT");
  add_demo_command(app, chosen);
  add_view_commands(app, chosen);
  add_lab_commands(app, chosen);
  add_deploy_commands(app, chosen);
  add_diagnostics_commands(app, chosen);
  auto* version = app.add_subcommand("version", "Print the version");
  version->callback([&] {
    chosen.run = [&] {
      if (is_document(chosen.output)) {
        std::cout << document_text(boost::json::object{{"version", HEDDLE_VERSION}}, chosen.output);
      } else {
        std::cout << "heddle " HEDDLE_VERSION "\n";
      }
      return 0;
    };
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // Help and version are "errors" of code 0; every other one is a wrong command line.
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (!chosen.run) return 2;
  return path ? run_through(std::move(*path), chosen.run) : chosen.run();
}
