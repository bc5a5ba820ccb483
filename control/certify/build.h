// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "control/certify/openssl.h"

namespace heddle::control {

enum class CertificateKind { root, issuer, leaf };

struct CertificatePlan {
  CertificateKind kind = CertificateKind::leaf;
  std::string name;             // leaf: its one DNS name; CA: the common name
  std::int64_t not_before = 0;  // seconds since the epoch
  std::int64_t not_after = 0;
};

// A version 3 certificate (RFC 5280) with a random serial number, signed with SHA-256. `issuer` null:
// self-signed.
Result<CertificatePtr> build_certificate(const CertificatePlan& plan, EVP_PKEY* subject_key, X509* issuer,
                                         EVP_PKEY* issuer_key);

}  // namespace heddle::control
