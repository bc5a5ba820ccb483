// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include "base/result.h"

namespace heddle::cni {

// Everything a descriptor gives until its end. Errc::exhausted beyond `limit` bytes, Errc::timeout when the
// end does not come: a runtime that forgot to close our standard input would otherwise hang with us.
Result<std::string> read_to_end(int fd, std::size_t limit, std::chrono::milliseconds timeout);

}  // namespace heddle::cni
