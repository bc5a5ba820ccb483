// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "tools/commands/command.h"

namespace heddle::tools {

struct CaptureRequest {
  std::string netns;  // path
  std::string interface = "eth0";
  double seconds = 0;     // 0: until Ctrl-C
  std::string pcap_file;  // empty: none; else every frame, in pcap format
};

// Prints each TCP connection's nature as it becomes known and a summary at the end; returns the exit code.
int show_capture(const CaptureRequest& request, Output output);

}  // namespace heddle::tools
