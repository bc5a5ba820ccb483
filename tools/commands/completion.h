// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace CLI {
class App;
}

namespace heddle::tools {

// The words a shell may offer: per command path ("lab up") its subcommands and flags.
struct CompletionEntry {
  std::string path;  // "" for the program itself
  std::vector<std::string> subcommands;
  std::vector<std::string> flags;  // "--name", "-o"
};
std::vector<CompletionEntry> completion_entries(const CLI::App& app);

// The script for "bash", "zsh" or "fish"; Errc::invalid_argument names them. Pure.
Result<std::string> completion_script(const std::string& shell, const std::vector<CompletionEntry>& entries);

}  // namespace heddle::tools
