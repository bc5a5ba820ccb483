// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "control/certify/review.h"
#include "control/counters.h"
#include "control/discovery/messages.h"

namespace grpc {
class Service;
}

namespace heddle::source {
class Source;
}

namespace heddle::control {

class Certifier;

// How requests for certificates prove themselves where an API server reviews tokens.
struct ReviewedTokens {
  ReviewToken review;              // empty: requests carry nodes' tokens
  bool accept_pod_tokens = false;  // without an agent's beside it
  MeshNames names;
};

// The references must outlive the services. Shared pointers only because gRPC's types are incomplete here.
std::shared_ptr<grpc::Service> make_destination_service(std::string cluster_domain, EndpointTopics& endpoints,
                                                        ProfileTopics& profiles, RpcCounters& counters);

// Requests for pods that are not known yet. A pod may enrol before the source has told of it: its node's
// request then waits a moment instead of being refused. Thread-safe.
class WaitingRequests {
 public:
  virtual ~WaitingRequests() = default;
  // The source has a new snapshot.
  virtual void retry() = 0;
  // Call every second: refuses those that have waited long enough, or all of them.
  virtual void expire(bool all) = 0;
};

struct IdentityParts {
  std::shared_ptr<grpc::Service> service;
  std::shared_ptr<WaitingRequests> waiting;
};
IdentityParts make_identity_service(Certifier& certifier, const source::Source& source, RpcCounters& counters,
                                    ReviewedTokens tokens = {});

}  // namespace heddle::control
