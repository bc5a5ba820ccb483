// SPDX-License-Identifier: Apache-2.0
// What heddle-cni and a proxy may send to the agent. The first byte chooses which, the second how many
// descriptors came beside it.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "agent/cni/request.h"
#include "agent/proxy_link/message.h"
#include "api/node.pb.h"

using namespace heddle;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::size_t descriptors = data[1] % 4;
  if (data[0] % 2 == 0) {
    const auto call = agent::decode_cni_call(bytes, descriptors);
    if (!call) return call.error().message().empty() ? (std::abort(), 0) : 0;
    // A container id becomes a file name.
    if (call->container_id.find('/') != std::string::npos) std::abort();
    if (call->command == agent::CniCommand::add && (descriptors != 1 || call->container_id.empty()))
      std::abort();
  } else {
    node::FromProxy message;
    const auto decoded = agent::decode_from_proxy(bytes, descriptors, message);
    if (!decoded) return 0;
    if (message.has_held() && descriptors != 2) std::abort();
    if (message.has_socket_request() && message.socket_request().count() > 1024) std::abort();
  }
  return 0;
}
