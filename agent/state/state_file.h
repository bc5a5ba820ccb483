// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/registry.h"
#include "base/result.h"

// RUN/agent/pods.json: what a new agent must know that no kernel object tells it. One sandbox per line. Pure.
namespace heddle::agent {

struct SavedState {
  // The kernel's boot id (random(4)): netns cookies begin anew at each boot, so another boot's sandboxes are
  // nothing.
  std::string boot;
  std::uint32_t mark = 0;          // SO_MARK of mesh sockets in iptables mode, secret (the file is 0600)
  std::vector<Sandbox> sandboxes;  // facts, numbers and flags; of the spec only `meshed`
};

// One sandbox as one line of JSON.
std::string encode_sandbox(const Sandbox& sandbox);
// The whole file from encoded sandboxes.
std::string encode_state(std::uint32_t mark, std::string_view boot,
                         const std::vector<std::string_view>& sandboxes);
// Bounded; every field is checked. Errc::invalid_argument says what is wrong where.
Result<SavedState> decode_state(std::string_view text);

}  // namespace heddle::agent
