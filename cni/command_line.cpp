// SPDX-License-Identifier: Apache-2.0
#include "cni/command_line.h"

#include <CLI/CLI.hpp>

#include "cni/log.h"

#ifndef HEDDLE_VERSION
#error "HEDDLE_VERSION is defined by cni/CMakeLists.txt"
#endif

namespace heddle::cni {

int run_command_line(int argc, char** argv) {
  CLI::App app("heddle's CNI plugin. A container runtime runs it with CNI_COMMAND set.", "heddle-cni");
  app.set_version_flag("--version", "heddle-cni " HEDDLE_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return 0;
}

}  // namespace heddle::cni
