// SPDX-License-Identifier: Apache-2.0
// What a runtime writes to the plugin's standard input, up to what is printed.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "cni/plugin.h"

using namespace heddle;
using namespace heddle::cni;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // DEL without a namespace touches no file.
  const Variables variables{{"CNI_COMMAND", "DEL"}, {"CNI_CONTAINERID", "c"}, {"CNI_IFNAME", "eth0"}};
  const Surroundings agreeing{
      [](Command, const NetworkConfig&, Patience) -> Exchange {
        return [](const node::CniRequest&, int) -> Result<node::CniReply> { return node::CniReply(); };
      },
      [](const NetworkConfig&) -> Result<Policy> { return make_error(Errc::not_found, "none"); }};
  const auto config = parse_config(text);
  if (config && !config->log_file.empty()) return 0;  // would write files
  const Answer answer = run_plugin(variables, text, agreeing);
  if (answer.exit_status != 0 && answer.output.find("\"code\":") == std::string::npos) std::abort();
  if (config) {
    const auto printed =
        config->prev_result ? read_reply(Command::add, *config, {}) : Outcome<std::string>("{}");
    // What the next plugin reads must be JSON again.
    if (!printed || version_for_answer(*printed).empty()) std::abort();
  }
  (void)version_answer(text);
  return 0;
}
