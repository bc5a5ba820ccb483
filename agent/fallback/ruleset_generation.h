// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/result.h"

namespace heddle::agent {

// The number of the last change of any nf_tables rule in a network namespace (NFT_MSG_GETGEN of nfnetlink):
// as long as it stays the same, so do the rules. Enters the netns for one question, about 50 microseconds.
// Errc::unsupported where the kernel has no nf_tables.
Result<std::uint32_t> ruleset_generation(int netns_fd);

}  // namespace heddle::agent
