// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/discovery/endpoints.h"
#include "control/source/snapshot.h"

namespace heddle::control {

// One endpoint of a slice; both belong to the snapshot.
struct Candidate {
  const source::EndpointSlice* slice = nullptr;
  const source::Endpoint* endpoint = nullptr;
};

// Label topology.kubernetes.io/zone of a node; empty if unknown.
std::string zone_of(const source::Snapshot& snapshot, std::string_view node);

// The endpoints this client should use: ready; the instance asked for; of one IP family per pod; on the
// client's node if the service says internalTrafficPolicy: Local; in zones hinted for the client's, when
// every endpoint has hints and at least one fits
// (kubernetes.io/docs/concepts/services-networking/topology-aware-routing).
std::vector<Candidate> choose_endpoints(const source::Snapshot& snapshot, const source::Service& service,
                                        const EndpointQuestion& question);

}  // namespace heddle::control
