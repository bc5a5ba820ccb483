// SPDX-License-Identifier: Apache-2.0
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <list>
#include <mutex>

#include "api/linkerd/identity.grpc.pb.h"
#include "control/certify/certifier.h"
#include "control/rpc/services.h"
#include "control/source/source.h"

namespace heddle::control {
namespace {

namespace identity_api = ::io::linkerd::proxy::identity;

grpc::StatusCode code_of(Refusal reason) {
  switch (reason) {
    case Refusal::token:
      return grpc::StatusCode::UNAUTHENTICATED;
    case Refusal::not_scheduled:
      return grpc::StatusCode::PERMISSION_DENIED;
    case Refusal::bad_request:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case Refusal::rate:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case Refusal::unavailable:
      break;
  }
  return grpc::StatusCode::UNAVAILABLE;
}

void encode(const IssuedCertificate& issued, identity_api::CertifyResponse& response) {
  response.set_leaf_certificate(issued.leaf);
  for (const std::string& certificate : issued.intermediates)
    response.add_intermediate_certificates(certificate);
  response.mutable_valid_until()->set_seconds(Clock::to_time_t(issued.valid_until));
}

class IdentityService final : public identity_api::Identity::CallbackService, public WaitingRequests {
 public:
  IdentityService(Certifier& certifier, const source::Source& source, RpcCounters& counters)
      : certifier_(certifier), source_(source), counters_(counters) {}

  // Signing takes some 0.2 ms: not worth a thread of its own.
  grpc::ServerUnaryReactor* Certify(grpc::CallbackServerContext* context,
                                    const identity_api::CertifyRequest* request,
                                    identity_api::CertifyResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const Waiting call{reactor, request, response, std::chrono::steady_clock::now() + longest_wait};
    if (answer(call, Attempt::first)) return reactor;
    // Asked again under the lock, so that a snapshot that came in between is not missed.
    const std::lock_guard lock(mutex_);
    const bool may_wait = !ended_ && waiting_.size() < most_waiting;
    if (!answer(call, may_wait ? Attempt::again : Attempt::last)) waiting_.push_back(call);
    show_waiting();
    return reactor;
  }

  void retry() override {
    const std::lock_guard lock(mutex_);
    waiting_.remove_if([this](const Waiting& call) { return answer(call, Attempt::again); });
    show_waiting();
  }

  void expire(bool all) override {
    const std::lock_guard lock(mutex_);
    ended_ = ended_ || all;
    const auto now = std::chrono::steady_clock::now();
    waiting_.remove_if(
        [&](const Waiting& call) { return (all || now >= call.deadline) && answer(call, Attempt::last); });
    show_waiting();
  }

 private:
  static constexpr auto longest_wait = std::chrono::seconds(1);
  static constexpr std::size_t most_waiting = 1000;

  // gRPC keeps the three alive until the reactor has finished.
  struct Waiting {
    grpc::ServerUnaryReactor* reactor;
    const identity_api::CertifyRequest* request;
    identity_api::CertifyResponse* response;
    std::chrono::steady_clock::time_point deadline;
  };

  void show_waiting() { counters_.certify_waiting = static_cast<std::int64_t>(waiting_.size()); }

  // False: the pod is not known, and the call may wait for it.
  bool answer(const Waiting& call, Attempt attempt) {
    const Certifier::Request request{call.request->identity(), call.request->token(),
                                     call.request->certificate_signing_request()};
    const auto outcome = certifier_.certify(request, *source_.current(), attempt);
    if (const auto* refused = std::get_if<Refused>(&outcome)) {
      if (attempt != Attempt::last && refused->reason == Refusal::not_scheduled) return false;
      call.reactor->Finish(grpc::Status(code_of(refused->reason), refused->why));
      return true;
    }
    encode(std::get<IssuedCertificate>(outcome), *call.response);
    call.reactor->Finish(grpc::Status::OK);
    return true;
  }

  Certifier& certifier_;
  const source::Source& source_;
  RpcCounters& counters_;
  std::mutex mutex_;
  std::list<Waiting> waiting_;
  bool ended_ = false;
};

}  // namespace

IdentityParts make_identity_service(Certifier& certifier, const source::Source& source,
                                    RpcCounters& counters) {
  auto service = std::make_shared<IdentityService>(certifier, source, counters);
  return {service, service};
}

}  // namespace heddle::control
