// SPDX-License-Identifier: Apache-2.0
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <list>
#include <mutex>

#include "api/linkerd/identity.grpc.pb.h"
#include "control/certify/certifier.h"
#include "control/certify/reviewer.h"
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
  IdentityService(Certifier& certifier, const source::Source& source, RpcCounters& counters, Review review)
      : certifier_(certifier), source_(source), counters_(counters), review_(std::move(review)) {}

  // Signing takes some 0.2 ms: not worth a thread of its own.
  grpc::ServerUnaryReactor* Certify(grpc::CallbackServerContext* context,
                                    const identity_api::CertifyRequest* request,
                                    identity_api::CertifyResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    Waiting call{reactor, request, response, std::chrono::steady_clock::now() + longest_wait, {}};
    if (review_.reviewer == nullptr) {
      begin(std::move(call));
    } else {
      review(std::move(call), bearer_of(*context));
    }
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
    std::optional<std::variant<Asker, Refused>> asker;
  };

  static std::string bearer_of(const grpc::CallbackServerContext& context) {
    const auto found = context.client_metadata().find("authorization");
    if (found == context.client_metadata().end()) return {};
    const std::string_view value(found->second.data(), found->second.size());
    constexpr std::string_view scheme = "Bearer ";
    return value.starts_with(scheme) ? std::string(value.substr(scheme.size())) : std::string();
  }

  static Refused refusal_of(const Error& error) {
    const bool denied = error.code == make_error_code(Errc::permission_denied);
    return {denied ? Refusal::token : Refusal::unavailable, error.detail};
  }

  // The agent's token first: a stranger's pod token is not worth a question.
  void review(Waiting call, const std::string& agent_token) {
    if (agent_token.empty()) {
      call.asker = Refused{Refusal::token, "the agent's own token is missing (metadata authorization)"};
      return begin(std::move(call));
    }
    review_.reviewer->review(agent_token, [this, call = std::move(call)](Result<TokenOwner> agent) mutable {
      if (!agent) {
        call.asker = refusal_of(agent.error());
        return begin(std::move(call));
      }
      auto asker = asker_of(std::move(*agent), std::nullopt, review_.agents);
      if (!asker) {
        call.asker = refusal_of(asker.error());
        return begin(std::move(call));
      }
      if (!call.request->token().empty()) return review_pod(std::move(call), std::move(*asker));
      call.asker = std::move(*asker);
      begin(std::move(call));
    });
  }

  void review_pod(Waiting call, Asker asker) {
    const std::string token = call.request->token();
    review_.reviewer->review(
        token, [this, call = std::move(call), asker = std::move(asker)](Result<TokenOwner> pod) mutable {
          if (!pod) {
            call.asker = refusal_of(pod.error());
          } else if (auto both = asker_of(std::move(*asker.agent), std::move(*pod), review_.agents)) {
            call.asker = std::move(*both);
          } else {
            call.asker = refusal_of(both.error());
          }
          begin(std::move(call));
        });
  }

  // Who asks is known.
  void begin(Waiting call) {
    if (answer(call, Attempt::first)) return;
    // Asked again under the lock, so that a snapshot that came in between is not missed.
    const std::lock_guard lock(mutex_);
    const bool may_wait = !ended_ && waiting_.size() < most_waiting;
    if (!answer(call, may_wait ? Attempt::again : Attempt::last)) waiting_.push_back(std::move(call));
    show_waiting();
  }

  void show_waiting() { counters_.certify_waiting = static_cast<std::int64_t>(waiting_.size()); }

  // False: the pod is not known, and the call may wait for it.
  bool answer(const Waiting& call, Attempt attempt) {
    const Certifier::Request request{call.request->identity(), call.request->token(),
                                     call.request->certificate_signing_request(), call.asker};
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
  const Review review_;
  std::mutex mutex_;
  std::list<Waiting> waiting_;
  bool ended_ = false;
};

}  // namespace

IdentityParts make_identity_service(Certifier& certifier, const source::Source& source, RpcCounters& counters,
                                    Review review) {
  auto service = std::make_shared<IdentityService>(certifier, source, counters, std::move(review));
  return {service, service};
}

}  // namespace heddle::control
