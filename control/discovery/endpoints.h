// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "control/discovery/target.h"
#include "control/source/snapshot.h"

// What Destination.Get answers, decided from a snapshot alone.
namespace heddle::control {

// Names that identities are built from.
struct MeshNames {
  std::string trust_domain = "cluster.local";
  std::string cluster_domain = "cluster.local";
  std::string control_namespace = "heddle";
};

// What the endpoint's proxy understands beyond what the application speaks.
enum class Hint : std::uint8_t { none, http2, opaque };

struct EndpointInfo {
  source::Labels labels;  // for metrics, Linkerd's names without their dst_ prefix
  std::string identity;   // empty: not meshed at this port
  Hint hint = Hint::none;

  bool operator==(const EndpointInfo&) const = default;
};

struct EndpointSet {
  bool exists = false;    // the service does
  bool external = false;  // it is of type ExternalName: DNS, not discovery, answers for it
  source::Labels labels;  // of all endpoints
  std::map<SocketAddress, EndpointInfo> endpoints;

  bool operator==(const EndpointSet&) const = default;
};

// A question asked by any number of streams. The client's node matters to zones and to local traffic.
struct EndpointQuestion {
  ServiceTarget target;
  std::string client_node;

  auto operator<=>(const EndpointQuestion&) const = default;
};

// Ready endpoints of the target's port.
EndpointSet find_endpoints(const source::Snapshot& snapshot, const EndpointQuestion& question,
                           const MeshNames& names);

// One pod as an endpoint, for clients that dial its address.
EndpointInfo describe_pod(const source::Snapshot& snapshot, const source::Pod& pod, std::uint16_t port,
                          const MeshNames& names);

// Addresses of the objects that the answer depends on: equal lists from two snapshots that are both alive
// mean equal answers.
using Inputs = std::vector<const void*>;
Inputs endpoint_inputs(const source::Snapshot& snapshot, const EndpointQuestion& question);

// From one answer to the next, in the order to be sent: what is gone, then what is new or different.
struct EndpointChange {
  bool none_left = false;  // replaces the other two
  std::vector<SocketAddress> removed;
  std::vector<SocketAddress> added;  // look them up in the new set

  bool empty() const { return !none_left && removed.empty() && added.empty(); }
};
// `before` null: the first answer of a stream.
EndpointChange compare_endpoints(const EndpointSet* before, const EndpointSet& after);

}  // namespace heddle::control
