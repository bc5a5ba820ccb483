// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"

namespace heddle {

// Whole file, refused beyond `limit` bytes (Errc::exhausted).
Result<std::string> read_file(const std::string& path, std::size_t limit = 16 * 1024 * 1024);

// Replaces `path` atomically: a temporary file in the same folder, fsync, rename. On any error (full disk
// too) the old content stays and the temporary file is gone.
Result<> write_file_atomically(const std::string& path, std::string_view content, mode_t mode);

// Like mkdir -p; existing folders keep their mode.
Result<> make_directories(const std::string& path, mode_t mode = 0755);

}  // namespace heddle
