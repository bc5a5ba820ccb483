// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

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

// The references must outlive the services. Shared pointers only because gRPC's types are incomplete here.
std::shared_ptr<grpc::Service> make_destination_service(std::string cluster_domain, EndpointTopics& endpoints,
                                                        ProfileTopics& profiles, RpcCounters& counters);
std::shared_ptr<grpc::Service> make_identity_service(Certifier& certifier, const source::Source& source);

}  // namespace heddle::control
