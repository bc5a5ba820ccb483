// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <cstdlib>

#include "proxy/listen/link_protocol.h"

// What passes validation holds what the rest of the proxy relies on.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::proxy;
  const auto message = decode_agent_message({reinterpret_cast<const char*>(data), size}, 2);
  if (!message) return 0;
  if (const auto* upsert = std::get_if<AgentPodUpsert>(&*message)) {
    const Pod& pod = *upsert->pod;
    if (pod.ips.empty() || pod.identity.empty() || pod.outbound_port == 0 || pod.inbound_port == 0)
      std::abort();
    for (const auto& range : pod.opaque_ports) {
      if (range.low > range.high) std::abort();
    }
    if (encode_held(pod).empty()) std::abort();
  }
  return 0;
}
