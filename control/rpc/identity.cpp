// SPDX-License-Identifier: Apache-2.0
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <vector>

#include "api/linkerd/identity.grpc.pb.h"
#include "control/certify/certifier.h"
#include "control/certify/review_budget.h"
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
    case Refusal::identity:
    case Refusal::node:
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

Refused refused_by(const ReviewFailure& failure, const std::string& whose) {
  const bool later = failure.result == ReviewResult::unavailable || failure.result == ReviewResult::forbidden;
  return {later ? Refusal::unavailable : Refusal::token, whose + ": " + failure.why};
}

// The token of "authorization: Bearer TOKEN"; nullopt: there is none.
std::optional<std::string> bearer_token(const grpc::CallbackServerContext& context) {
  const auto found = context.client_metadata().find("authorization");
  if (found == context.client_metadata().end()) return std::nullopt;
  constexpr std::string_view scheme = "Bearer ";
  const std::string_view value(found->second.data(), found->second.size());
  return std::string(value.starts_with(scheme) ? value.substr(scheme.size()) : std::string_view());
}

void encode(const IssuedCertificate& issued, identity_api::CertifyResponse& response) {
  response.set_leaf_certificate(issued.leaf);
  for (const std::string& certificate : issued.intermediates)
    response.add_intermediate_certificates(certificate);
  response.mutable_valid_until()->set_seconds(Clock::to_time_t(issued.valid_until));
}

class IdentityService final : public identity_api::Identity::CallbackService, public WaitingRequests {
 public:
  IdentityService(Certifier& certifier, const source::Source& source, RpcCounters& counters,
                  ReviewedTokens tokens)
      : certifier_(certifier), source_(source), counters_(counters), tokens_(std::move(tokens)) {}

  // Signing takes some 0.2 ms: not worth a thread of its own.
  grpc::ServerUnaryReactor* Certify(grpc::CallbackServerContext* context,
                                    const identity_api::CertifyRequest* request,
                                    identity_api::CertifyResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const Waiting call{reactor, request, response, {}, nullptr, peer_key(context->peer())};
    if (tokens_.review) {
      review_agent(call, bearer_token(*context));
    } else {
      begin(call);
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
    std::shared_ptr<const Proof> proof;  // null: the request has a node's token
    std::string peer;                    // its peer_key()
  };

  void refuse(const Waiting& call, Refused why) {
    const Refused refused = certifier_.refuse(call.request->identity(), std::move(why));
    call.reactor->Finish(grpc::Status(code_of(refused.reason), refused.why));
  }

  using Then = std::function<void(const Review&)>;

  ReviewFailure over_budget() {
    counters_.reviews_over_budget += 1;
    return {ReviewResult::unavailable, "too many tokens of this peer, or of strangers, are being reviewed"};
  }

  // Of the token that shows who asks: an agent's mostly is known already. Requests with the same one, as of
  // an agent that begins, wait for one review; until it is known as an agent's, a stranger has sent it.
  void review_asker(const Waiting& call, const std::string& token, Then then) {
    std::unique_lock lock(askers_mutex_);
    if (const auto known = agents_.find(token, std::chrono::steady_clock::now())) {
      lock.unlock();
      return then(*known);
    }
    const auto [found, first] = under_review_.try_emplace(token);
    if (found->second.size() >= most_waiting) {
      lock.unlock();
      return then(over_budget());
    }
    found->second.push_back(std::move(then));
    lock.unlock();
    if (!first) return;
    auto share = budget_->take(call.peer, true);
    if (share == nullptr) return end_review(token, over_budget());
    tokens_.review(token, [this, token, share](const Review& review) { end_review(token, review); });
  }

  void end_review(const std::string& token, const Review& review) {
    std::unique_lock lock(askers_mutex_);
    const auto* owner = std::get_if<TokenOwner>(&review);
    if (owner != nullptr && is_agent(*owner, tokens_.names)) {
      agents_.keep(token, *owner, std::chrono::steady_clock::now());
    }
    const auto ended = under_review_.extract(token);
    lock.unlock();
    for (const Then& then : ended.mapped()) then(review);
  }

  // An agent's token is asked about first: what comes without one ends here.
  void review_agent(const Waiting& call, const std::optional<std::string>& token) {
    if (!token) return review_alone(call);
    review_asker(call, *token, [this, call](const Review& review) {
      if (const auto* failure = std::get_if<ReviewFailure>(&review)) {
        return refuse(call, refused_by(*failure, "the agent's token"));
      }
      review_pod(call, std::get<TokenOwner>(review));
    });
  }

  // One token: an agent's own, for the pods of its node, or a pod's own, where that is allowed.
  void review_alone(const Waiting& call) {
    review_asker(call, call.request->token(), [this, call](const Review& review) {
      if (const auto* failure = std::get_if<ReviewFailure>(&review)) {
        return refuse(call, refused_by(*failure, "the token"));
      }
      const TokenOwner& owner = std::get<TokenOwner>(review);
      if (is_agent(owner, tokens_.names)) return begin_with(call, {owner, std::nullopt, true});
      if (tokens_.accept_pod_tokens) return begin_with(call, {owner, std::nullopt, false});
      refuse(call, {Refusal::token,
                    "the token is no agent's, there is none in the metadata 'authorization', and "
                    "--accept-pod-tokens is off"});
    });
  }

  void begin_with(const Waiting& call, Proof proof) {
    Waiting proven = call;
    proven.proof = std::make_shared<const Proof>(std::move(proof));
    begin(proven);
  }

  // Beside an agent's token. What proves to be none's is a stranger's still.
  void review_pod(const Waiting& call, const TokenOwner& agent) {
    const auto share = budget_->take(call.peer, !is_agent(agent, tokens_.names));
    if (share == nullptr) return refuse(call, refused_by(over_budget(), "the pod's token"));
    tokens_.review(call.request->token(), [this, call, agent, share](Review review) {
      if (const auto* failure = std::get_if<ReviewFailure>(&review)) {
        return refuse(call, refused_by(*failure, "the pod's token"));
      }
      begin_with(call, {std::get<TokenOwner>(review), agent, false});
    });
  }

  void begin(Waiting call) {
    if (answer(call, Attempt::first)) return;
    call.deadline = std::chrono::steady_clock::now() + longest_wait;
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
                                     call.request->certificate_signing_request(), call.proof.get()};
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
  const ReviewedTokens tokens_;
  AgentReviews agents_;
  const std::shared_ptr<ReviewBudget> budget_ = std::make_shared<ReviewBudget>();
  std::mutex askers_mutex_;
  std::map<std::string, std::vector<Then>> under_review_;  // by token, bounded by the budget
  std::mutex mutex_;
  std::list<Waiting> waiting_;
  bool ended_ = false;
};

}  // namespace

IdentityParts make_identity_service(Certifier& certifier, const source::Source& source, RpcCounters& counters,
                                    ReviewedTokens tokens) {
  auto service = std::make_shared<IdentityService>(certifier, source, counters, std::move(tokens));
  return {service, service};
}

}  // namespace heddle::control
