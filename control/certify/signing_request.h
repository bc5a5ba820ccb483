// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace heddle::control {

// Checks a certificate signing request (DER, RFC 2986) for `identity` and returns its public key (DER,
// SubjectPublicKeyInfo): a P-256 key whose owner signed the request, exactly one subject alternative name, a
// DNS name equal to the identity, and a common name that is the identity or absent. Everything else that the
// request asks for is not looked at and never copied. Errc::invalid_argument says which rule is broken.
Result<std::string> check_signing_request(std::string_view der, std::string_view identity);

// A request as check_signing_request() wants it, with the key it is for (PEM): for heddle-control's own leaf.
struct OwnRequest {
  std::string der;
  std::string key_pem;
};
Result<OwnRequest> make_signing_request(const std::string& identity);

}  // namespace heddle::control
