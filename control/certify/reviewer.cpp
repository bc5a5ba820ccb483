// SPDX-License-Identifier: Apache-2.0
#include "control/certify/reviewer.h"

#include <openssl/sha.h>

#include <optional>

namespace heddle::control {
namespace {

constexpr std::chrono::seconds patience{5};

std::string digest_of(std::string_view token) {
  std::string out(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(),
         reinterpret_cast<unsigned char*>(out.data()));
  return out;
}

}  // namespace

void TokenReviewer::review(const std::string& token, Done done) {
  if (token.empty() || token.size() > longest_token) {
    ++counters_.refused;
    return done(
        make_error(Errc::permission_denied, token.empty() ? "no token" : "a token longer than 16 KiB"));
  }
  const std::string digest = digest_of(token);
  if (auto known = recall(digest)) {
    ++counters_.remembered;
    return done(std::move(*known));
  }
  source::kubernetes::Request request;
  request.method = "POST";
  request.target = "/apis/authentication.k8s.io/v1/tokenreviews";
  request.content_type = "application/json";
  request.body = token_review_of(token, audience_);
  const auto begin = Clock::now();
  caller_.call(
      std::move(request), patience,
      [this, digest, begin, done = std::move(done)](const Result<source::kubernetes::Answer>& answer) {
        auto owner = judge(answer);
        const auto took = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin);
        counters_.microseconds += static_cast<std::uint64_t>(took.count());
        if (owner) {
          ++counters_.good;
          remember(digest, *owner);
        } else {
          const bool refused = owner.error().code == make_error_code(Errc::permission_denied);
          ++(refused ? counters_.refused : counters_.failed);
        }
        done(std::move(owner));
      });
}

Result<TokenOwner> TokenReviewer::judge(const Result<source::kubernetes::Answer>& answer) const {
  if (!answer) {
    return make_error(Errc::unavailable, "the token could not be reviewed: " + answer.error().message());
  }
  if (answer->status != 200 && answer->status != 201) {
    return make_error(Errc::unavailable,
                      "the token could not be reviewed: TokenReview was answered with status " +
                          std::to_string(answer->status) +
                          (answer->status == 403 ? "; allow create of tokenreviews" : ""));
  }
  return owner_of(answer->body, audience_);
}

std::optional<TokenOwner> TokenReviewer::recall(const std::string& digest) {
  const std::lock_guard lock(mutex_);
  const auto found = remembered_.find(digest);
  if (found == remembered_.end()) return std::nullopt;
  if (Clock::now() < found->second.until) return found->second.owner;
  remembered_.erase(found);
  return std::nullopt;
}

void TokenReviewer::remember(const std::string& digest, const TokenOwner& owner) {
  const auto now = Clock::now();
  const std::lock_guard lock(mutex_);
  if (remembered_.size() >= most_remembered) {
    std::erase_if(remembered_, [now](const auto& entry) { return entry.second.until <= now; });
  }
  if (remembered_.size() >= most_remembered) return;
  remembered_[digest] = {owner, now + memory};
}

}  // namespace heddle::control
