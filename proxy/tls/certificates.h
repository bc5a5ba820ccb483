// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "proxy/pods/pod.h"
#include "proxy/telemetry/telemetry.h"
#include "proxy/tls/tls.h"

namespace heddle::proxy {
class Loop;
}

namespace heddle::proxy::tls {

// Sends a certificate request towards the agent (api/node.proto CertifyRequest). Called on the certificates'
// thread; must not block and must not call back from inside. A request that cannot be sent now may be
// dropped: the store asks again, at once when link_up() is called.
class CertifyRequester {
 public:
  virtual void request(const std::string& identity, std::uint32_t pod_id, const std::string& csr_der) = 0;

 protected:
  ~CertifyRequester() = default;
};

// The keys and certificates of this node's identities, one of each per identity however many pods share it.
// Keys are made here once per process and never leave it. A thread of its own makes keys, asks, renews (70 %
// of the life, between 10 s and 24 h) and hands finished contexts to the workers; a certificate that is still
// valid goes on when its renewal fails. All members but the constructor are callable from any thread.
class CertificateStore {
 public:
  struct Options {
    std::string trust_anchors;  // PEM file, one or more roots; read again when it changed
    std::chrono::milliseconds min_backoff{500};
    std::chrono::milliseconds max_backoff{30'000};
    std::chrono::milliseconds answer_timeout{10'000};  // a request is repeated when no answer came
    std::size_t max_handshakes_per_pod = 256;
    // Renewal never earlier than this after an issue.
    std::chrono::milliseconds min_renewal{10'000};
    // How long an identity outlives its last pod here: one whose sandbox is made anew needs no new
    // certificate, which while the API server is away it might not get.
    std::chrono::milliseconds keep_unused{60'000};
  };
  // Errors name the trust anchors' file and what is wrong with it. `telemetry` (may be null) is used on the
  // store's thread only. Both references must outlive the store, as every Loop given to make_endpoint().
  static Result<std::unique_ptr<CertificateStore>> open(Options options, CertifyRequester& requester,
                                                        std::unique_ptr<Telemetry> telemetry);
  virtual ~CertificateStore() = default;

  // Pods come and go; the first of an identity makes its key and asks, some time after the last it is
  // forgotten.
  virtual void pod_added(const Pod& pod) = 0;
  virtual void pod_removed(const Pod& pod) = 0;
  // The agent's answer (api/node.proto Certificate); `error` set: nothing else is.
  virtual void on_certificate(std::string identity, std::string leaf_der,
                              std::vector<std::string> intermediates_der, std::uint64_t valid_until_unix,
                              std::string error) = 0;
  // The agent is (again) there: what waits for an answer is asked now.
  virtual void link_up() = 0;
  // Calls `then` once, on the store's thread, as soon as every identity that has a pod was answered: with a
  // certificate or a refusal. Must not call back from inside. A later call replaces an earlier one.
  virtual void when_answered(std::function<void()> then) = 0;

  // A worker's TLS; call on the worker's thread or before it runs, destroy on it or after it ended.
  virtual std::unique_ptr<Endpoint> make_endpoint(Loop& loop) = 0;
  // JSON array for /state: identity, pods, valid_until, state, last error.
  virtual std::string state_json() const = 0;
};

// Pure: how long after `now` a certificate is renewed.
std::chrono::milliseconds renew_after(std::chrono::system_clock::time_point now,
                                      std::chrono::system_clock::time_point valid_until,
                                      std::chrono::milliseconds at_least = std::chrono::seconds(10));

}  // namespace heddle::proxy::tls
