// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace heddle::cni {

// `heddle-cni install|uninstall ...` and `--help`. Returns the exit status: 0, 1 when it failed, 2 for wrong
// usage.
int run_command_line(int argc, char** argv);

}  // namespace heddle::cni
