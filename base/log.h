// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <spdlog/spdlog.h>

#include <string>

#include "base/result.h"

namespace heddle {

// One line per decision, to stderr: `2026-01-02T03:04:05.678Z INFO  agent: pod enrolled pod=shop/web-1
// took_ms=4`. Write "what happened key=value ...", and for a failure the operator's next step. Never log
// keys, tokens or header values.
struct LogOptions {
  std::string component;         // "agent", "proxy", ...
  std::string level = "info";    // trace, debug, info, warn, error, off
  std::string format = "plain";  // plain or json
};

// Installs spdlog's default logger. Call once in main(). Errc::invalid_argument names the allowed values.
Result<> start_logging(const LogOptions& options);

}  // namespace heddle
