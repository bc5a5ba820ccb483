// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace heddle::control {

using Clock = std::chrono::system_clock;

struct IssuedCertificate {
  std::string leaf;                        // DER
  std::vector<std::string> intermediates;  // DER, the leaf's issuer first, without the root
  Clock::time_point valid_until;           // the leaf's notAfter
};

struct Lifetimes {
  std::chrono::seconds leaf = std::chrono::hours(24);
  std::chrono::seconds skew = std::chrono::seconds(20);  // subtracted from notBefore, added to notAfter
};

// PEM texts of an issuing authority.
struct AuthorityFiles {
  std::string issuer_certificate;  // the issuer, then any intermediates up to below the root
  std::string issuer_key;          // unencrypted PKCS#8, SEC1 or PKCS#1
  std::string trust_anchors;       // one or more roots
};

// Signs leaves. Immutable and thread-safe; a new issuer is a new Authority.
class Authority {
 public:
  // Errc::invalid_argument names what is wrong: not PEM, not a CA, key and certificate do not match, a chain
  // that no anchor vouches for, expired or not yet valid.
  static Result<std::shared_ptr<const Authority>> load(const AuthorityFiles& files, Lifetimes lifetimes,
                                                       Clock::time_point now = Clock::now());
  ~Authority();
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  // A leaf for TLS servers and clients whose one name is `identity`. `public_key` is what
  // check_signing_request() returned. Its life ends with the issuer's at the latest; Errc::unavailable once
  // the issuer has expired.
  Result<IssuedCertificate> issue(std::string_view public_key, const std::string& identity,
                                  Clock::time_point now = Clock::now()) const;

  Clock::time_point not_before() const;  // of the issuer
  Clock::time_point not_after() const;
  const std::string& trust_anchors() const;  // PEM

 private:
  struct Parts;
  explicit Authority(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// A self-made root (10 years) and the issuers under it (1 year).
struct Root {
  std::string certificate;  // PEM
  std::string key;          // PEM
};
Result<Root> make_root(const std::string& trust_domain, Clock::time_point now = Clock::now());

struct Issuer {
  std::string certificate;  // PEM
  std::string key;          // PEM
};
Result<Issuer> make_issuer(const Root& root, const std::string& name, Clock::time_point now = Clock::now());

}  // namespace heddle::control
