// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/identity/token_request.h"
#include "agent/loop.h"
#include "base/result.h"

namespace heddle::source::kubernetes {
class Caller;
}

namespace heddle::agent {

// Tokens of pods, asked of the API server, kept in memory only: one per pod, renewed when 80 % of its life is
// over, forgotten when the pod is. Main thread.
class PodTokens {
 public:
  struct Options {
    std::string audience = "identity.heddle.io";
    std::chrono::seconds lifetime{3600};
    std::chrono::milliseconds deadline{5000};  // of one question
  };
  // A pod with this uid is still here.
  using Lives = std::function<bool(const std::string& uid)>;
  using Done = std::function<void(Result<std::string>)>;

  // `api` outlives it.
  PodTokens(Loop& loop, source::kubernetes::Caller& api, Options options, Lives lives);
  ~PodTokens();
  // `done` on the main thread, perhaps at once. A token that is due for renewal but still valid is given when
  // the API server cannot be asked.
  void get(const TokenSubject& subject, Done done);
  std::size_t kept() const { return entries_.size(); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    std::string token;  // empty: none yet
    Clock::time_point renew_at;
    Clock::time_point expires;
    bool asking = false;
    std::vector<Done> waiting;
  };
  void ask(const TokenSubject& subject);
  void answered(const std::string& uid, Clock::time_point asked, Result<GrantedToken> result);
  void forget();

  Loop& loop_;
  source::kubernetes::Caller& api_;
  Options options_;
  Lives lives_;
  std::map<std::string, Entry> entries_;  // by uid
  std::unique_ptr<Loop::Handle> timer_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace heddle::agent
