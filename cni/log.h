// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

// The same lines that base/log.h writes, without spdlog: the plugin is linked statically and must start at
// once.
namespace heddle::cni {

enum class LogLevel { trace, debug, info, warn, error, off };
Result<LogLevel> parse_log_level(std::string_view text);

// One line to standard error, from `threshold` upwards. Set both once, in main().
void set_log(LogLevel threshold, bool json);
void log(LogLevel level, std::string_view text);

// One line at the end of `path`, which is created with mode 0600. Failures are ignored: a full disk must not
// stop a pod.
void append_log(const std::string& path, LogLevel level, std::string_view text);

}  // namespace heddle::cni
