// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/result.h"

struct evp_pkey_st;

namespace heddle::proxy::tls {

using Key = std::shared_ptr<evp_pkey_st>;

// A new P-256 key pair. It exists in this process only: there is no way to write it anywhere.
Result<Key> make_key();

// A certificate request (PKCS #10, DER) signed by `key`: CN and exactly one DNS name, both `identity` (a URI
// name for spiffe://...). A CN has at most 64 characters (RFC 5280 ub-common-name): it is left out when that
// is not enough.
Result<std::string> make_request(const Key& key, const std::string& identity);

// The oldest error of OpenSSL's queue in words, and the queue emptied.
std::string openssl_error();

}  // namespace heddle::proxy::tls
