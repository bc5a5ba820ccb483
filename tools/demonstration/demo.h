// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tools/demonstration/stage.h"

namespace heddle::tools {

// Runs the demo and prints it; returns main()'s exit code. Everything it made is gone afterwards, also after
// Ctrl-C (exit code 130) and failures, unless `keep`.
int run_demo(const DemoOptions& options);

}  // namespace heddle::tools
