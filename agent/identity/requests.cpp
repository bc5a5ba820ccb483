// SPDX-License-Identifier: Apache-2.0
#include "agent/identity/requests.h"

#include "api/node.pb.h"
#include "base/log.h"

namespace heddle::agent {
namespace {

// Of all proxies together: what one asked for is asked of control even when it is gone.
constexpr std::size_t max_outstanding = 4096;
// Together about half a minute: then the proxy hears of it, and asks again in its own rhythm.
constexpr int max_attempts = 8;
constexpr Backoff::Policy retry_policy{std::chrono::milliseconds(200), std::chrono::milliseconds(8000), 0.2};

}  // namespace

struct CertificateRequests::Request {
  std::uint32_t pod_id = 0;
  std::string identity;
  std::string csr;
  Answer answer;
  int attempts = 0;
  Backoff backoff{retry_policy};
  std::unique_ptr<Loop::Handle> timer;
};

CertificateRequests::CertificateRequests(Loop& loop, std::unique_ptr<IdentityClient> client, Allowed allowed,
                                         TokenOf token_of)
    : loop_(loop), client_(std::move(client)), allowed_(std::move(allowed)), token_of_(std::move(token_of)) {}

CertificateRequests::~CertificateRequests() {
  *alive_ = false;
}

void CertificateRequests::request(std::uint32_t pod_id, const std::string& identity, const std::string& csr,
                                  Answer answer) {
  const std::uint64_t id = next_++;
  auto made = std::make_unique<Request>();
  made->pod_id = pod_id;
  made->identity = identity;
  made->csr = csr;
  made->answer = std::move(answer);
  made->backoff = Backoff(retry_policy, id);
  outstanding_.emplace(id, std::move(made));
  if (!allowed_(pod_id, identity)) {
    ++totals_.refused;
    if (log_.take(std::chrono::steady_clock::now()))
      spdlog::warn("certificate refused identity={} pod_id={} reason=\"no meshed pod of this node has it\"",
                   identity, pod_id);
    fail(id, "no meshed pod of this node has the identity " + identity);
    return;
  }
  if (outstanding_.size() > max_outstanding) {
    fail(id, "4096 certificate requests are outstanding already");
    return;
  }
  if (!client_) {
    fail(id, "the agent was started without --identity-address");
    return;
  }
  attempt(id);
}

void CertificateRequests::attempt(std::uint64_t id) {
  const auto found = outstanding_.find(id);
  if (found == outstanding_.end()) return;
  Request& request = *found->second;
  if (!allowed_(request.pod_id, request.identity)) {
    fail(id, "the last pod of " + request.identity + " left this node");
    return;
  }
  ++request.attempts;
  if (!token_of_) return certify(id, "");
  token_of_(request.pod_id, request.identity, [this, id, alive = alive_](const Result<std::string>& token) {
    if (!*alive) return;
    if (token) return certify(id, *token);
    answered(id, token.error());
  });
}

void CertificateRequests::certify(std::uint64_t id, const std::string& pod_token) {
  const auto found = outstanding_.find(id);
  if (found == outstanding_.end()) return;
  const Request& request = *found->second;
  client_->certify(request.identity, request.csr, pod_token,
                   [this, id, alive = alive_](Result<IssuedCertificate> result) {
                     loop_.post([this, id, alive, result = std::move(result)] {
                       if (*alive) answered(id, result);
                     });
                   });
}

void CertificateRequests::answered(std::uint64_t id, const Result<IssuedCertificate>& result) {
  const auto found = outstanding_.find(id);
  if (found == outstanding_.end()) return;
  Request& request = *found->second;
  if (result) {
    node::ToProxy::Certificate certificate;
    certificate.set_identity(request.identity);
    certificate.set_leaf(result->leaf);
    for (const auto& der : result->intermediates) certificate.add_intermediates(der);
    certificate.set_valid_until_unix(result->valid_until_unix);
    ++totals_.issued;
    spdlog::info("certificate issued identity={} valid_until_unix={} attempts={}", request.identity,
                 result->valid_until_unix, request.attempts);
    const auto answer = std::move(request.answer);
    outstanding_.erase(found);
    answer(certificate);
    return;
  }
  const auto& error = result.error();
  const bool may_pass =
      error.code == make_error_code(Errc::unavailable) || error.code == make_error_code(Errc::timeout);
  if (may_pass && request.attempts < max_attempts) {
    if (request.attempts == 1) {
      spdlog::warn("certificate delayed identity={} error=\"{}\" next=\"tried again; is heddle-control up?\"",
                   request.identity, error.message());
    }
    ++totals_.retried;
    request.timer = loop_.after(request.backoff.next(), [this, id] { attempt(id); });
    return;
  }
  if (log_.take(std::chrono::steady_clock::now()))
    spdlog::error(
        "certificate not issued identity={} error=\"{}\" next=\"check --token-file, --trust-anchors and "
        "control's log\"",
        request.identity, error.message());
  fail(id, error.message());
}

void CertificateRequests::fail(std::uint64_t id, const std::string& error) {
  const auto found = outstanding_.find(id);
  if (found == outstanding_.end()) return;
  ++totals_.failed;
  node::ToProxy::Certificate certificate;
  certificate.set_identity(found->second->identity);
  certificate.set_error(error);
  const auto answer = std::move(found->second->answer);
  outstanding_.erase(found);
  answer(certificate);
}

}  // namespace heddle::agent
