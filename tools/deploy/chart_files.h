// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

namespace heddle::tools {

// One file of deploy/chart, compiled in.
struct ChartFile {
  std::string_view path;  // below deploy/chart: "templates/50-agent.yaml"
  std::string_view text;
};

// All of them, by path. They live as long as the program.
std::span<const ChartFile> chart_files();

}  // namespace heddle::tools
