// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

// Owners of OpenSSL's objects, and conversions; only for this folder's .cpp files.
namespace heddle::control {

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};

inline void free_extensions(STACK_OF(X509_EXTENSION) * list) {
  sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
}
inline void free_certificates(STACK_OF(X509) * list) {
  sk_X509_pop_free(list, X509_free);
}

using KeyPtr = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Freed<X509_free>>;
using RequestPtr = std::unique_ptr<X509_REQ, Freed<X509_REQ_free>>;
using BioPtr = std::unique_ptr<BIO, Freed<BIO_free_all>>;
using ExtensionsPtr = std::unique_ptr<STACK_OF(X509_EXTENSION), Freed<free_extensions>>;
using CertificatesPtr = std::unique_ptr<STACK_OF(X509), Freed<free_certificates>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, Freed<GENERAL_NAMES_free>>;

// What OpenSSL's error queue says last, which is emptied.
std::string openssl_error();
// Read-only view as a BIO; `text` must outlive it.
BioPtr memory_bio(std::string_view text);
std::string bio_text(BIO* bio);
Result<std::string> to_der(X509* certificate);
Result<std::string> to_pem(X509* certificate);
Result<std::string> to_pem(EVP_PKEY* key);
// Every certificate of a PEM text, in order. `what` names it in errors.
Result<std::vector<CertificatePtr>> read_certificates(std::string_view pem, std::string_view what);
Result<KeyPtr> read_key(std::string_view pem, std::string_view what);
Result<KeyPtr> make_p256_key();
bool is_p256(EVP_PKEY* key);
std::int64_t unix_time(const ASN1_TIME* time);

}  // namespace heddle::control
