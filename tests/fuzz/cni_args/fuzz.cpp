// SPDX-License-Identifier: Apache-2.0
// The environment a runtime sets: lines of KEY=VALUE.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cni/environment.h"

using namespace heddle::cni;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)parse_cni_args(text);
  Variables variables;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    variables.insert_or_assign(std::string(line.substr(0, equals)), std::string(line.substr(equals + 1)));
  }
  const auto environment = parse_environment(variables);
  if (environment && environment->command == Command::add && environment->netns.empty()) std::abort();
  if (!environment && (environment.error().code != 4 || environment.error().details.empty())) std::abort();
  return 0;
}
