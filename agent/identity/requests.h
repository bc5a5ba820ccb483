// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "agent/identity/certify.h"
#include "agent/log_budget.h"
#include "agent/loop.h"
#include "base/backoff.h"

namespace heddle::node {
class ToProxy_Certificate;
}

namespace heddle::agent {

// Certificate requests of proxies: allowed only for identities of pods that live here, asked of control with
// retries, answered once. Main thread.
class CertificateRequests {
 public:
  using Answer = std::function<void(const node::ToProxy_Certificate&)>;
  // A live, meshed pod of this node has the identity.
  using Allowed = std::function<bool(std::uint32_t pod_id, const std::string& identity)>;
  // Gets the token of a pod that has the identity, on the main thread; the pod id is an example.
  using TokenOf = std::function<void(std::uint32_t pod_id, const std::string& identity,
                                     std::function<void(Result<std::string>)>)>;
  struct Totals {
    std::uint64_t issued = 0;
    std::uint64_t refused = 0;  // no such pod here
    std::uint64_t failed = 0;   // answered with an error
    std::uint64_t retried = 0;
  };

  // `client` null: no control plane is configured; requests are answered with an error. `token_of` empty: the
  // node's own token is all there is.
  CertificateRequests(Loop& loop, std::unique_ptr<IdentityClient> client, Allowed allowed,
                      TokenOf token_of = {});
  ~CertificateRequests();
  void request(std::uint32_t pod_id, const std::string& identity, const std::string& csr, Answer answer);
  const Totals& totals() const { return totals_; }
  std::size_t outstanding() const { return outstanding_.size(); }

 private:
  struct Request;
  void attempt(std::uint64_t id);
  void certify(std::uint64_t id, const std::string& pod_token);
  void answered(std::uint64_t id, const Result<IssuedCertificate>& result);
  void fail(std::uint64_t id, const std::string& error);

  Loop& loop_;
  std::unique_ptr<IdentityClient> client_;
  Allowed allowed_;
  TokenOf token_of_;
  Totals totals_;
  LogBudget log_;
  std::uint64_t next_ = 1;
  std::map<std::uint64_t, std::unique_ptr<Request>> outstanding_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace heddle::agent
