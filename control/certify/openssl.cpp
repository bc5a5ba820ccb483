// SPDX-License-Identifier: Apache-2.0
#include "control/certify/openssl.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <algorithm>
#include <climits>
#include <ctime>

namespace heddle::control {

std::string openssl_error() {
  const unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  if (code == 0) return "unknown error";
  char text[256];
  ERR_error_string_n(code, text, sizeof text);
  return text;
}

BioPtr memory_bio(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(std::min<std::size_t>(text.size(), INT_MAX))));
}

std::string bio_text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return size > 0 ? std::string(data, static_cast<std::size_t>(size)) : std::string();
}

Result<std::string> to_der(X509* certificate) {
  unsigned char* bytes = nullptr;
  const int size = i2d_X509(certificate, &bytes);
  if (size <= 0) return make_error(Errc::internal, "cannot encode a certificate: " + openssl_error());
  std::string der(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  OPENSSL_free(bytes);
  return der;
}

Result<std::string> to_pem(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(bio.get(), certificate) != 1) {
    return make_error(Errc::internal, "cannot encode a certificate: " + openssl_error());
  }
  return bio_text(bio.get());
}

Result<std::string> to_pem(EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_secmem()));
  if (PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return make_error(Errc::internal, "cannot encode a key: " + openssl_error());
  }
  return bio_text(bio.get());
}

Result<std::vector<CertificatePtr>> read_certificates(std::string_view pem, std::string_view what) {
  const BioPtr bio = memory_bio(pem);
  std::vector<CertificatePtr> out;
  while (X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr))
    out.emplace_back(certificate);
  const unsigned long code = ERR_peek_last_error();
  const bool at_end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
  if (!at_end)
    return make_error(Errc::invalid_argument,
                      std::string(what) + ": not a PEM certificate: " + openssl_error());
  ERR_clear_error();
  if (out.empty())
    return make_error(Errc::invalid_argument, std::string(what) + ": holds no PEM certificate");
  return out;
}

Result<KeyPtr> read_key(std::string_view pem, std::string_view what) {
  const BioPtr bio = memory_bio(pem);
  // No prompt for a passphrase: a daemon has no terminal.
  const auto no_passphrase = [](char*, int, int, void*) { return -1; };
  KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key) {
    return make_error(Errc::invalid_argument,
                      std::string(what) + ": not an unencrypted PEM private key: " + openssl_error());
  }
  return key;
}

Result<KeyPtr> make_p256_key() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (!key) return make_error(Errc::internal, "cannot make a P-256 key: " + openssl_error());
  return key;
}

bool is_p256(EVP_PKEY* key) {
  char group[32] = {};
  std::size_t size = 0;
  return key != nullptr && EVP_PKEY_is_a(key, "EC") == 1 &&
         EVP_PKEY_get_group_name(key, group, sizeof group, &size) == 1 &&
         std::string_view(group, size) == "prime256v1";
}

std::int64_t unix_time(const ASN1_TIME* time) {
  std::tm broken_down{};
  if (ASN1_TIME_to_tm(time, &broken_down) != 1) return 0;
  return timegm(&broken_down);
}

}  // namespace heddle::control
