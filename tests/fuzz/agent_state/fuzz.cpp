// SPDX-License-Identifier: Apache-2.0
// RUN/agent/pods.json: whatever is read can be written and read again.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "agent/state/state_file.h"

using namespace heddle::agent;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto state = decode_state({reinterpret_cast<const char*>(data), size});
  if (!state) return state.error().message().empty() ? (std::abort(), 0) : 0;
  std::vector<std::string> lines;
  for (const auto& sandbox : state->sandboxes) lines.push_back(encode_sandbox(sandbox));
  const auto again = decode_state(encode_state(state->mark, state->boot, {lines.begin(), lines.end()}));
  if (!again || again->sandboxes.size() != state->sandboxes.size()) std::abort();
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (!(again->sandboxes[i].facts == state->sandboxes[i].facts)) std::abort();
  }
  return 0;
}
