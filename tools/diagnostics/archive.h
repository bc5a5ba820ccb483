// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ctime>
#include <string>
#include <vector>

#include "base/result.h"

namespace heddle::tools {

struct ArchivedFile {
  std::string path;  // relative, at most 255 bytes
  std::string text;
};

// PURE: a gzip'ed POSIX (ustar) archive of the files, each with the time `at` and mode 0600.
// Errc::invalid_argument: a path that the format cannot hold.
Result<std::string> tar_gz(const std::vector<ArchivedFile>& files, std::time_t at);

}  // namespace heddle::tools
