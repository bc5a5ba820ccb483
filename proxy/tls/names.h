// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct x509_st;

namespace heddle::proxy::tls {

// The DNS and URI names of a certificate's subjectAltName (RFC 5280 4.2.1.6), in order; names with bytes that
// no identity has (NUL, controls, non-ASCII) are left out. Bounded: at most 64 names of 512 bytes.
std::vector<std::string> names_of(const x509_st* certificate);

// Who the certificate's owner is: its first DNS or URI name, empty without one.
std::string first_name(const x509_st* certificate);

// Is one of its names exactly `identity`? No wildcards: identities are not host names.
bool has_name(const x509_st* certificate, std::string_view identity);

// The same from DER; empty for what is no certificate.
std::vector<std::string> names_of_der(std::span<const std::byte> der);

}  // namespace heddle::proxy::tls
