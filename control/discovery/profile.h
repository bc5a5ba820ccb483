// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "control/discovery/endpoints.h"
#include "control/discovery/target.h"
#include "control/source/snapshot.h"

// What Destination.GetProfile answers, decided from a snapshot alone.
namespace heddle::control {

struct Profile {
  // A service's port: its name, and where it was configured.
  std::string fully_qualified_name;
  std::optional<ServiceTarget> service;
  // A pod's address.
  std::optional<SocketAddress> endpoint_address;
  EndpointInfo endpoint;

  bool opaque = false;  // forward bytes, detect nothing

  bool operator==(const Profile&) const = default;
};

// A service's address or name gives the service; a pod's address, or an instance's name, the pod; any other
// address an empty profile, opaque if its port is one of Linkerd's default opaque ports. Whatever the target,
// it is looked up again with every snapshot: an address may become a pod's later.
Profile find_profile(const source::Snapshot& snapshot, const Target& target, const MeshNames& names);

// See endpoint_inputs().
Inputs profile_inputs(const source::Snapshot& snapshot, const Target& target);

// An opaque-ports annotation, of the service or its namespace, wins; then appProtocol, where everything but
// "http" and "kubernetes.io/h2c" is opaque (Linkerd 2.18); then the default list.
bool is_opaque_service_port(const source::Snapshot& snapshot, const source::Service& service,
                            std::uint16_t port);

}  // namespace heddle::control
