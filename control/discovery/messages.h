// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "api/linkerd/destination.pb.h"
#include "control/discovery/endpoints.h"
#include "control/discovery/profile.h"
#include "control/discovery/topics.h"

namespace heddle::control {

namespace destination_api = ::io::linkerd::proxy::destination;

// Answers as the proxy API's messages. What Topics needs, for Get:
struct EndpointTraits {
  using Question = EndpointQuestion;
  using Answer = EndpointSet;
  using Message = destination_api::Update;

  Inputs inputs(const source::Snapshot& snapshot, const Question& question) const {
    return endpoint_inputs(snapshot, question);
  }
  Answer answer(const source::Snapshot& snapshot, const Question& question) const {
    return find_endpoints(snapshot, question, names);
  }
  // Removes before adds; large sets in several messages, below gRPC's default limit of 4 MiB.
  std::vector<std::shared_ptr<const Message>> changes(const Answer* before, const Answer& after) const;

  MeshNames names;
};

// And for GetProfile:
struct ProfileTraits {
  using Question = Target;
  using Answer = Profile;
  using Message = destination_api::DestinationProfile;

  Inputs inputs(const source::Snapshot& snapshot, const Question& question) const {
    return profile_inputs(snapshot, question);
  }
  Answer answer(const source::Snapshot& snapshot, const Question& question) const {
    return find_profile(snapshot, question, names);
  }
  std::vector<std::shared_ptr<const Message>> changes(const Answer* before, const Answer& after) const;

  MeshNames names;
};

using EndpointTopics = Topics<EndpointTraits>;
using ProfileTopics = Topics<ProfileTraits>;

}  // namespace heddle::control
