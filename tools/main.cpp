// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <iostream>

#include "tools/commands/command.h"
#include "tools/output/document.h"

#ifndef HEDDLE_VERSION
#define HEDDLE_VERSION "0.1.0"
#endif

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
  app.add_option("-o,--output", chosen.output, "table, wide, json or yaml; check also short or junit")
      ->transform(CLI::CheckedTransformer(outputs).description(""))
      ->envname("HEDDLE_OUTPUT");
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
  return chosen.run ? chosen.run() : 2;
}
