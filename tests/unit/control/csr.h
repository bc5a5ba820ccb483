// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <vector>

namespace heddle::test {

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;

inline Key ec_key(const char* curve = "P-256") {
  return Key(EVP_EC_gen(curve));
}

// A signing request of any shape, right or wrong.
struct Csr {
  std::string common_name;
  std::vector<std::string> names;  // "DNS:a,IP:1.2.3.4" in OpenSSL's syntax; one extension each
  EVP_PKEY* key = nullptr;         // made if null
  EVP_PKEY* signer = nullptr;      // the key if null
  std::string organization{};

  std::string der() const {
    const Key made = key == nullptr ? ec_key() : nullptr;
    EVP_PKEY* subject = key == nullptr ? made.get() : key;
    X509_REQ* request = X509_REQ_new();
    X509_REQ_set_version(request, 0);
    X509_REQ_set_pubkey(request, subject);
    X509_NAME* name = X509_REQ_get_subject_name(request);
    const auto add = [&](const char* field, const std::string& text) {
      if (text.empty()) return;
      X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(text.data()),
                                 static_cast<int>(text.size()), -1, 0);
    };
    add("CN", common_name);
    add("O", organization);
    STACK_OF(X509_EXTENSION)* extensions = sk_X509_EXTENSION_new_null();
    for (const std::string& value : names) {
      X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, value.c_str());
      if (extension == nullptr) ADD_FAILURE() << "no extension from " << value;
      sk_X509_EXTENSION_push(extensions, extension);
    }
    if (!names.empty()) X509_REQ_add_extensions(request, extensions);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_sign(request, signer == nullptr ? subject : signer, EVP_sha256());
    unsigned char* bytes = nullptr;
    const int size = i2d_X509_REQ(request, &bytes);
    std::string out(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
    OPENSSL_free(bytes);
    X509_REQ_free(request);
    return out;
  }
};

inline std::string good_csr(const std::string& identity) {
  return Csr{identity, {"DNS:" + identity}}.der();
}

}  // namespace heddle::test
