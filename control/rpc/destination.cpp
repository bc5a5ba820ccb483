// SPDX-License-Identifier: Apache-2.0
#include "api/linkerd/destination.grpc.pb.h"
#include "control/discovery/target.h"
#include "control/rpc/services.h"
#include "control/rpc/stream.h"

namespace heddle::control {
namespace {

// A stream that ends before it begins.
template <class Message>
class Rejected final : public grpc::ServerWriteReactor<Message> {
 public:
  Rejected(StreamCounters& counters, const grpc::Status& status) {
    counters.opened += 1;
    counters.refused += 1;
    this->Finish(status);
  }
  void OnDone() override { delete this; }
};

grpc::Status invalid(const std::string& why) {
  return {grpc::StatusCode::INVALID_ARGUMENT, why};
}

class DestinationService final : public destination_api::Destination::CallbackService {
 public:
  DestinationService(std::string cluster_domain, EndpointTopics& endpoints, ProfileTopics& profiles,
                     RpcCounters& counters)
      : cluster_domain_(std::move(cluster_domain)),
        endpoints_(endpoints),
        profiles_(profiles),
        counters_(counters) {}

  grpc::ServerWriteReactor<destination_api::Update>* Get(
      grpc::CallbackServerContext* context, const destination_api::GetDestination* request) override {
    using Refusal = Rejected<destination_api::Update>;
    const auto target = parse_target(request->path(), cluster_domain_);
    if (!target) return new Refusal(counters_.get, invalid(target.error().detail));
    const auto* service = std::get_if<ServiceTarget>(&*target);
    if (service == nullptr) {
      return new Refusal(counters_.get,
                         invalid("Get takes a service's name; ask GetProfile about an address"));
    }
    EndpointQuestion question{*service, parse_client(request->context_token()).node};
    const auto check = [name = request->path()](const EndpointSet& answer) {
      if (!answer.exists) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such service: " + name);
      if (answer.external) return invalid(name + " is of type ExternalName: DNS has its endpoints");
      return grpc::Status::OK;
    };
    return new Stream<EndpointTopics>(*context, endpoints_, std::move(question), counters_.get, check);
  }

  grpc::ServerWriteReactor<destination_api::DestinationProfile>* GetProfile(
      grpc::CallbackServerContext* context, const destination_api::GetDestination* request) override {
    auto target = parse_target(request->path(), cluster_domain_);
    if (!target) {
      return new Rejected<destination_api::DestinationProfile>(counters_.get_profile,
                                                               invalid(target.error().detail));
    }
    const auto check = [](const Profile&) { return grpc::Status::OK; };
    return new Stream<ProfileTopics>(*context, profiles_, std::move(*target), counters_.get_profile, check);
  }

 private:
  const std::string cluster_domain_;
  EndpointTopics& endpoints_;
  ProfileTopics& profiles_;
  RpcCounters& counters_;
};

}  // namespace

std::shared_ptr<grpc::Service> make_destination_service(std::string cluster_domain, EndpointTopics& endpoints,
                                                        ProfileTopics& profiles, RpcCounters& counters) {
  return std::make_shared<DestinationService>(std::move(cluster_domain), endpoints, profiles, counters);
}

}  // namespace heddle::control
