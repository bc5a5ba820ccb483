// SPDX-License-Identifier: Apache-2.0
#include "agent/identity/pod_tokens.h"

#include <utility>

#include "control/source/kubernetes/caller.h"

namespace heddle::agent {
namespace {

constexpr std::chrono::milliseconds look_for_gone{5000};

}  // namespace

PodTokens::PodTokens(Loop& loop, source::kubernetes::Caller& api, Options options, Lives lives)
    : loop_(loop), api_(api), options_(std::move(options)), lives_(std::move(lives)) {
  timer_ = loop_.every(look_for_gone, [this] { forget(); });
}

PodTokens::~PodTokens() {
  *alive_ = false;
}

void PodTokens::get(const TokenSubject& subject, Done done) {
  Entry& entry = entries_[subject.uid];
  if (!entry.token.empty() && Clock::now() < entry.renew_at) return done(entry.token);
  entry.waiting.push_back(std::move(done));
  if (!entry.asking) ask(subject);
}

void PodTokens::ask(const TokenSubject& subject) {
  entries_[subject.uid].asking = true;
  source::kubernetes::Request request;
  request.method = "POST";
  request.target = token_target(subject);
  request.body = encode_token_request(subject, options_.audience, options_.lifetime);
  request.content_type = "application/json";
  const auto now = Clock::now();
  api_.call(std::move(request), options_.deadline,
            [this, alive = alive_, &loop = loop_, uid = subject.uid,
             now](Result<source::kubernetes::Answer> answer) {
              Result<GrantedToken> granted =
                  answer ? decode_token_answer(answer->status, answer->body)
                         : Result<GrantedToken>(make_error(Errc::unavailable, answer.error().message()));
              loop.post([this, alive, uid, now, granted = std::move(granted)] {
                if (*alive) answered(uid, now, granted);
              });
            });
}

void PodTokens::answered(const std::string& uid, Clock::time_point asked, Result<GrantedToken> result) {
  const auto found = entries_.find(uid);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  entry.asking = false;
  Result<std::string> out = std::string();
  if (result) {
    entry.token = std::move(result->token);
    entry.renew_at = asked + result->lifetime * 8 / 10;
    entry.expires = asked + result->lifetime;
    out = entry.token;
  } else if (!entry.token.empty() && Clock::now() < entry.expires &&
             result.error().code == make_error_code(Errc::unavailable)) {
    out = entry.token;
  } else {
    out = result.error();
  }
  const auto waiting = std::exchange(entry.waiting, {});
  if (!out) entries_.erase(found);
  for (const auto& done : waiting) done(out);
}

void PodTokens::forget() {
  std::erase_if(entries_, [this](const auto& entry) { return !entry.second.asking && !lives_(entry.first); });
}

}  // namespace heddle::agent
