// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "agent/registry.h"
#include "base/result.h"

namespace heddle::node {
class FromProxy;
class Pod;
}  // namespace heddle::node

// The proxy's messages, checked, and a pod as the proxy is told of it. Pure (protobuf aside).
namespace heddle::agent {

inline constexpr std::uint32_t max_sockets_per_message = 64;

// Errc::invalid_argument: malformed, or the wrong number of descriptors. Errc::unsupported: well-formed, but
// of a kind this version does not know; the protocol says to ignore it.
Result<> decode_from_proxy(std::string_view bytes, std::size_t descriptors, node::FromProxy& out);

// Everything but the generation.
void describe_pod(const Sandbox& sandbox, const NodeFacts& node, node::Pod& out);

}  // namespace heddle::agent
