// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "proxy/pods/pod.h"

namespace heddle::proxy {

// An answer to a certificate request, as the agent passed it on.
struct IssuedCertificate {
  std::string identity;
  std::string leaf;                        // DER
  std::vector<std::string> intermediates;  // DER
  std::chrono::system_clock::time_point valid_until{};
  std::string error;  // set: nothing else is, but `identity`
};

// What the certificate store hears from the agent's link. All calls come from the link thread, in order.
class CertificateSink {
 public:
  virtual ~CertificateSink() = default;
  virtual void pod_upserted(const PodRef& pod) = 0;
  virtual void pod_removed(const PodRef& pod) = 0;
  virtual void certificate(IssuedCertificate certificate) = 0;
  // The conversation (re)started and its snapshot is complete: requests that got no answer are to be sent again.
  virtual void agent_ready() = 0;
};

// How the store asks for a certificate; implemented by the agent's link. Any thread, never blocks; lost when the
// agent is away (agent_ready() tells when to ask again).
class CertifyRequester {
 public:
  virtual ~CertifyRequester() = default;
  virtual void request_certificate(const std::string& identity, std::uint32_t pod_id, const std::string& csr_der) = 0;
};

}  // namespace heddle::proxy
