// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"

// What the injector's webhook shows API servers.
namespace heddle::control {

// PEM texts.
struct WebhookCertificate {
  std::string certificate;  // the leaf, and what is between it and the root
  std::string key;
  std::string authorities;  // what to verify it with; newest first, earlier ones until they expire

  bool operator==(const WebhookCertificate&) const = default;
};

using CertificateTime = std::chrono::system_clock::time_point;

// An authority of its own and one leaf for `dns_name`, both good for a year. The authority's key is thrown
// away: nobody can sign with it again. `earlier`: authorities that other replicas may still be verified with.
Result<WebhookCertificate> make_webhook_certificate(const std::string& dns_name, const std::string& earlier,
                                                    CertificateTime now);

struct CertificateLife {
  CertificateTime begins;
  CertificateTime ends;

  bool over(CertificateTime now) const { return now >= ends; }
  // Past two thirds of it.
  bool due(CertificateTime now) const { return now >= begins + (ends - begins) / 3 * 2; }
};
// Errc::invalid_argument: not PEM, or the key is another's.
Result<CertificateLife> check_webhook_certificate(const WebhookCertificate& certificate);

}  // namespace heddle::control
