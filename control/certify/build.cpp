// SPDX-License-Identifier: Apache-2.0
#include "control/certify/build.h"

#include <openssl/rand.h>

namespace heddle::control {
namespace {

constexpr std::size_t longest_common_name = 64;  // RFC 5280 ub-common-name

bool set_serial(X509* certificate) {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return false;
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7f) | 0x40);  // positive, and always 16 bytes
  BIGNUM* number = BN_bin2bn(bytes, sizeof bytes, nullptr);
  const bool ok =
      number != nullptr && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  return ok;
}

bool set_name(X509* certificate, const std::string& name) {
  // A longer identity is in the subject alternative name only, which is then critical (RFC 5280 4.2.1.6).
  if (name.size() > longest_common_name) return true;
  return X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(name.data()),
                                    static_cast<int>(name.size()), -1, 0) == 1;
}

bool set_times(X509* certificate, const CertificatePlan& plan) {
  return ASN1_TIME_set(X509_getm_notBefore(certificate), plan.not_before) != nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), plan.not_after) != nullptr;
}

bool add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer != nullptr ? issuer : certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  if (extension == nullptr) return false;
  const bool ok = X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return ok;
}

// The name goes in as a value, never through OpenSSL's "DNS:a,DNS:b" syntax: a comma must not add a second
// name.
bool add_dns_name(X509* certificate, const std::string& name) {
  const NamesPtr names(GENERAL_NAMES_new());
  GENERAL_NAME* entry = GENERAL_NAME_new();
  ASN1_IA5STRING* text = ASN1_IA5STRING_new();
  if (!names || entry == nullptr || text == nullptr) return false;
  if (ASN1_STRING_set(text, name.data(), static_cast<int>(name.size())) != 1) return false;
  GENERAL_NAME_set0_value(entry, GEN_DNS, text);
  sk_GENERAL_NAME_push(names.get(), entry);
  const int critical = name.size() > longest_common_name ? 1 : 0;
  return X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), critical, X509V3_ADD_DEFAULT) == 1;
}

bool add_extensions(X509* certificate, X509* issuer, const CertificatePlan& plan) {
  bool ok = false;
  switch (plan.kind) {
    case CertificateKind::root:
      ok = add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:TRUE") &&
           add_extension(certificate, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
      break;
    case CertificateKind::issuer:
      ok = add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
           add_extension(certificate, issuer, NID_key_usage, "critical,keyCertSign,cRLSign");
      break;
    case CertificateKind::leaf:
      ok = add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature") &&
           add_extension(certificate, issuer, NID_ext_key_usage, "serverAuth,clientAuth") &&
           add_dns_name(certificate, plan.name);
      break;
  }
  return ok && add_extension(certificate, issuer, NID_subject_key_identifier, "hash") &&
         (issuer == nullptr || X509_get0_subject_key_id(issuer) == nullptr ||
          add_extension(certificate, issuer, NID_authority_key_identifier, "keyid"));
}

}  // namespace

Result<CertificatePtr> build_certificate(const CertificatePlan& plan, EVP_PKEY* subject_key, X509* issuer,
                                         EVP_PKEY* issuer_key) {
  CertificatePtr certificate(X509_new());
  X509* raw = certificate.get();
  bool ok = raw != nullptr && X509_set_version(raw, X509_VERSION_3) == 1 && set_serial(raw) &&
            set_name(raw, plan.name) && set_times(raw, plan) && X509_set_pubkey(raw, subject_key) == 1;
  ok = ok && X509_set_issuer_name(raw, X509_get_subject_name(issuer != nullptr ? issuer : raw)) == 1;
  ok = ok && add_extensions(raw, issuer, plan) && X509_sign(raw, issuer_key, EVP_sha256()) > 0;
  if (!ok)
    return make_error(Errc::internal, "cannot make the certificate of " + plan.name + ": " + openssl_error());
  return certificate;
}

}  // namespace heddle::control
