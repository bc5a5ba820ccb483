// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ip.h"
#include "proxy/pods/accept_rate.h"
#include "proxy/pods/pod_limits.h"
#include "proxy/pods/refusals.h"

namespace heddle::proxy {

enum class Interception : std::uint8_t { ebpf, iptables };

// Linkerd's default inbound policies (config.linkerd.io/default-inbound-policy).
enum class InboundPolicy : std::uint8_t {
  all_unauthenticated,
  all_authenticated,
  cluster_unauthenticated,
  cluster_authenticated,
  deny,
  audit
};

// What a pod may use and uses now, over all workers. Shared by all descriptions of one pod.
struct PodLoad {
  LiveLimits limits;
  // The pod was released: what its connections begin is their last.
  std::atomic<bool> leaving{false};
  // Bits 1 << Limit: it uses most of what the process is short of. Nothing new is taken from it.
  std::atomic<std::uint8_t> shedding{0};
  // Apart from what is only read, as every worker writes here.
  alignas(64) std::atomic<std::uint32_t> connections{0};
  std::atomic<std::uint32_t> requests{0};
  AcceptRate outbound_accepts, inbound_accepts;
  // Bytes held for slow readers and unfinished heads: see ByteBudget. Streams that were refused because of
  // it.
  std::atomic<std::size_t> buffered_bytes{0};
  std::atomic<std::uint64_t> streams_refused{0};
  // How often something was refused or had to wait, by Limit.
  std::array<std::atomic<std::uint64_t>, limit_count> limited{};

  void count(Limit why) { limited[static_cast<std::size_t>(why)].fetch_add(1, std::memory_order_relaxed); }
  Refusals refusals;
};

// A pod this proxy serves, as the agent describes it (api/node.proto Pod). Immutable; a change makes a new
// one, and connections keep the one they began with.
struct Pod {
  std::uint32_t id = 0;
  std::uint64_t netns_cookie = 0;
  std::uint64_t generation = 0;
  std::string uid;
  std::string ns;
  std::string name;
  std::string service_account;
  std::string identity;  // the name in its certificate
  std::string node_name;
  std::string trust_domain;
  std::vector<IpAddress> ips;
  std::uint16_t outbound_port = 0;
  std::uint16_t inbound_port = 0;
  Interception interception = Interception::ebpf;
  InboundPolicy policy = InboundPolicy::all_unauthenticated;
  std::vector<PortRange> opaque_ports;
  std::vector<PortRange> require_identity_ports;
  std::map<std::string, std::string> labels;
  bool keep_client_source = true;
  PodLimits limits = PodLimits::unsaid();  // what was asked for; what holds is in `load`
  std::shared_ptr<PodLoad> load = std::make_shared<PodLoad>();
};
using PodRef = std::shared_ptr<const Pod>;

// The pods of this node as one worker sees them. Worker-local, updated by posts from the link thread.
class PodTable {
 public:
  virtual ~PodTable() = default;
  // The pod with this address, or null: how a same-node endpoint is recognised (join).
  virtual PodRef by_address(const IpAddress& ip) const = 0;
  virtual PodRef by_id(std::uint32_t id) const = 0;
};

}  // namespace heddle::proxy
