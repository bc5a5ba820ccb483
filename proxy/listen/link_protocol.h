// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "proxy/pods/pod.h"

namespace heddle::proxy {

// The agent's messages (api/node.proto ToProxy), validated: what the rest of the proxy may rely on. Pure.
struct AgentWelcome {
  std::string agent_version;
  std::string node_name;
};
struct AgentPodUpsert {
  std::shared_ptr<Pod> pod;  // not shared yet: `load` is still to be taken over from an earlier description
};
// A pod that cannot be served as described; the agent is told why.
struct AgentPodRejected {
  std::uint32_t id = 0;
  std::uint64_t generation = 0;
  std::string error;
};
struct AgentPodRemove {
  std::uint32_t id = 0;
  std::uint64_t netns_cookie = 0;
  std::uint32_t grace_seconds = 0;  // above 0: the pod was released and lives on
};
struct AgentSnapshotEnd {
  std::uint32_t pods = 0;
};
struct AgentSockets {
  std::uint32_t pod_id = 0;
  bool ipv6 = false;
  std::uint64_t request = 0;
  std::string error;
  bool prepared = false;  // nothing is left to set on them
};
struct AgentCertificate {
  std::string identity;
  std::string leaf;
  std::vector<std::string> intermediates;
  std::uint64_t valid_until_unix = 0;
  std::string error;
};
struct AgentDrain {
  std::uint32_t grace_seconds = 0;
};
struct AgentHolding {};  // the answer to Drained
struct AgentUnknown {};  // of a newer agent: ignored
using AgentMessage =
    std::variant<AgentWelcome, AgentPodUpsert, AgentPodRejected, AgentPodRemove, AgentSnapshotEnd,
                 AgentSockets, AgentCertificate, AgentDrain, AgentHolding, AgentUnknown>;

// `descriptors`: how many came beside it. Errc::protocol for what no agent would send.
Result<AgentMessage> decode_agent_message(std::string_view bytes, std::size_t descriptors);

// What the proxy says (FromProxy), ready to send.
std::string encode_hello(const std::string& version, std::uint32_t pid, std::uint64_t started_unix_ms,
                         bool draining);
std::string encode_held(const Pod& pod);
std::string encode_held_end(std::uint32_t pods);
std::string encode_pod_ack(std::uint32_t id, std::uint64_t generation, const std::string& error);
std::string encode_snapshot_ack(std::uint32_t pods);
std::string encode_socket_request(std::uint32_t pod_id, bool ipv6, std::uint32_t count,
                                  std::uint64_t request);
std::string encode_certify_request(const std::string& identity, std::uint32_t pod_id, const std::string& csr);
std::string encode_drained(std::uint32_t connections_cut);

}  // namespace heddle::proxy
