// SPDX-License-Identifier: Apache-2.0
#include "control/certify/reviewer.h"

#include "control/certify/precheck.h"
#include "control/source/kubernetes/caller.h"

namespace heddle::control {

struct Reviewer::Impl {
  std::string audience;
  ReviewCounters& counters;
  source::kubernetes::Caller caller;
};

Reviewer::Reviewer(const source::kubernetes::Access& access, std::string audience, ReviewCounters& counters)
    : impl_(new Impl{std::move(audience), counters, source::kubernetes::Caller(access)}) {}

Reviewer::~Reviewer() = default;

void Reviewer::review(const std::string& token, std::function<void(Review)> done) {
  ReviewCounters& counters = impl_->counters;
  if (auto refused = precheck_token(token, impl_->audience, std::chrono::system_clock::now())) {
    counters.unasked[static_cast<std::size_t>(refused->result)] += 1;
    return done(std::move(*refused));
  }
  if (counters.outstanding.fetch_add(1) >= most_outstanding) {
    counters.outstanding -= 1;
    counters.count(ReviewResult::unavailable, {});
    return done(ReviewFailure{ReviewResult::unavailable, "too many tokens are being reviewed"});
  }
  source::kubernetes::Request request;
  request.method = "POST";
  request.target = "/apis/authentication.k8s.io/v1/tokenreviews";
  request.body = encode_token_review(token, impl_->audience);
  request.content_type = "application/json";
  impl_->caller.call(
      std::move(request), deadline,
      [&counters, audience = impl_->audience, done = std::move(done),
       began = std::chrono::steady_clock::now()](const Result<source::kubernetes::Answer>& answer) {
        Review review = answer ? decode_token_review(answer->status, answer->body, audience)
                               : ReviewFailure{ReviewResult::unavailable,
                                               "the API server cannot be asked: " + answer.error().message()};
        const auto* failure = std::get_if<ReviewFailure>(&review);
        counters.outstanding -= 1;
        counters.count(failure == nullptr ? ReviewResult::accepted : failure->result,
                       std::chrono::steady_clock::now() - began);
        done(std::move(review));
      });
}

}  // namespace heddle::control
