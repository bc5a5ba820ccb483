// SPDX-License-Identifier: Apache-2.0
#include "proxy/tls/key.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

namespace heddle::proxy::tls {
namespace {

template <auto Free>
struct Freeing {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};

constexpr std::size_t max_common_name = 64;

bool add_alternative_name(X509_REQ* request, const std::string& identity) {
  const std::unique_ptr<GENERAL_NAMES, Freeing<GENERAL_NAMES_free>> names(GENERAL_NAMES_new());
  std::unique_ptr<GENERAL_NAME, Freeing<GENERAL_NAME_free>> name(GENERAL_NAME_new());
  ASN1_IA5STRING* text = ASN1_IA5STRING_new();
  if (!names || !name || !text ||
      !ASN1_STRING_set(text, identity.data(), static_cast<int>(identity.size()))) {
    return false;
  }
  GENERAL_NAME_set0_value(name.get(), identity.find("://") == std::string::npos ? GEN_DNS : GEN_URI, text);
  if (!sk_GENERAL_NAME_push(names.get(), name.get())) return false;
  (void)name.release();
  STACK_OF(X509_EXTENSION)* extensions = nullptr;
  const bool added =
      X509V3_add1_i2d(&extensions, NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT) == 1 &&
      X509_REQ_add_extensions(request, extensions) == 1;
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  return added;
}

}  // namespace

std::string openssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "no reason given";
  const char* reason = ERR_reason_error_string(code);
  return reason ? reason : "OpenSSL error " + std::to_string(code);
}

Result<Key> make_key() {
  Key key(EVP_EC_gen("P-256"), [](EVP_PKEY* p) { EVP_PKEY_free(p); });
  if (!key) return make_error(Errc::internal, "making a P-256 key: " + openssl_error());
  return key;
}

Result<std::string> make_request(const Key& key, const std::string& identity) {
  const std::unique_ptr<X509_REQ, Freeing<X509_REQ_free>> request(X509_REQ_new());
  bool ok = request && X509_REQ_set_version(request.get(), 0) == 1;
  if (ok && identity.size() <= max_common_name) {
    ok = X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request.get()), "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(identity.data()),
                                    static_cast<int>(identity.size()), -1, 0) == 1;
  }
  ok = ok && add_alternative_name(request.get(), identity) &&
       X509_REQ_set_pubkey(request.get(), key.get()) == 1 &&
       X509_REQ_sign(request.get(), key.get(), EVP_sha256()) > 0;
  unsigned char* der = nullptr;
  const int size = ok ? i2d_X509_REQ(request.get(), &der) : -1;
  if (size <= 0)
    return make_error(Errc::internal, "certificate request for " + identity + ": " + openssl_error());
  std::string out(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return out;
}

}  // namespace heddle::proxy::tls
