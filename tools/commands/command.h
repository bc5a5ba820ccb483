// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace CLI {
class App;
}

namespace heddle::tools {

// How results are printed. `wide` is a table with more columns; `short_list` and `junit` are for `check`
// only.
enum class Output { table, json, yaml, wide, short_list, junit };

// What the chosen subcommand will do; main() runs it after parsing. Returns the exit code (0 fine, 1 not).
struct Chosen {
  std::function<int()> run;
  Output output = Output::table;
};

// Each adds its subcommands to the application.
void add_lab_commands(CLI::App& app, Chosen& chosen);
void add_view_commands(CLI::App& app, Chosen& chosen);
void add_demo_command(CLI::App& app, Chosen& chosen);
void add_deploy_commands(CLI::App& app, Chosen& chosen);
void add_diagnostics_commands(CLI::App& app, Chosen& chosen);

inline bool is_document(Output output) {
  return output == Output::json || output == Output::yaml;
}

// Prints "heddle: MESSAGE" to stderr and returns 1.
int report(const Error& error);

}  // namespace heddle::tools
