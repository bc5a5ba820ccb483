// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "control/certify/token_review.h"
#include "control/source/kubernetes/caller.h"

namespace heddle::control {

// Has tokens reviewed by the API server. Good ones are remembered for `memory` by their digest, so that an
// agent's own token is not reviewed with every certificate of a node that starts: for so long a revoked one
// is still taken. Thread-safe; destruction waits for reviews under way.
class TokenReviewer {
 public:
  struct Counters {
    std::atomic<std::uint64_t> good{0};
    std::atomic<std::uint64_t> refused{0};  // by the API server
    std::atomic<std::uint64_t> failed{0};   // no answer, or none that makes sense
    std::atomic<std::uint64_t> remembered{0};
    std::atomic<std::uint64_t> microseconds{0};  // of those answered, together
  };
  using Done = std::function<void(Result<TokenOwner>)>;

  TokenReviewer(source::kubernetes::Caller& caller, std::string audience)
      : caller_(caller), audience_(std::move(audience)) {}

  // `done` is called once, at once or on the caller's thread. Errc::permission_denied: not a good token;
  // anything else: nothing is known of it, and the same question may be asked again.
  void review(const std::string& token, Done done);

  const std::string& audience() const { return audience_; }
  const Counters& counters() const { return counters_; }

  static constexpr std::chrono::seconds memory{30};
  static constexpr std::size_t most_remembered = 4096;

 private:
  using Clock = std::chrono::steady_clock;
  struct Remembered {
    TokenOwner owner;
    Clock::time_point until;
  };

  std::optional<TokenOwner> recall(const std::string& digest);
  void remember(const std::string& digest, const TokenOwner& owner);
  Result<TokenOwner> judge(const Result<source::kubernetes::Answer>& answer) const;

  source::kubernetes::Caller& caller_;
  const std::string audience_;
  Counters counters_;
  std::mutex mutex_;
  std::map<std::string, Remembered> remembered_;
};

}  // namespace heddle::control
