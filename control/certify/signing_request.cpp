// SPDX-License-Identifier: Apache-2.0
#include "control/certify/signing_request.h"

#include <vector>

#include "control/certify/openssl.h"

namespace heddle::control {
namespace {

constexpr std::size_t largest_request = 16 * 1024;
constexpr std::size_t longest_common_name = 64;  // RFC 5280 ub-common-name

Error refused(std::string why) {
  return make_error(Errc::invalid_argument, "certificate signing request refused: " + std::move(why));
}

std::string_view text_of(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<std::size_t>(ASN1_STRING_length(text))};
}

Result<> check_subject(X509_REQ* request, std::string_view identity) {
  const X509_NAME* subject = X509_REQ_get_subject_name(request);
  const int entries = X509_NAME_entry_count(subject);
  if (entries == 0) return {};
  const X509_NAME_ENTRY* entry = X509_NAME_get_entry(subject, 0);
  if (entries > 1 || OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)) != NID_commonName) {
    return refused("the subject may hold a common name only");
  }
  if (text_of(X509_NAME_ENTRY_get_data(entry)) != identity) {
    return refused("the common name is not the identity asked for");
  }
  return {};
}

Result<> check_names(X509_REQ* request, std::string_view identity) {
  const ExtensionsPtr extensions(X509_REQ_get_extensions(request));
  if (!extensions) return refused("it has no subject alternative name");
  int found = 0;  // -1: none; -2: several (X509V3_get_d2i(3))
  const NamesPtr names(
      static_cast<GENERAL_NAMES*>(X509V3_get_d2i(extensions.get(), NID_subject_alt_name, &found, nullptr)));
  if (!names) {
    if (found == -1) return refused("it has no subject alternative name");
    return refused(found == -2 ? "it has more than one subject alternative name extension"
                               : "it has no readable subject alternative name");
  }
  if (sk_GENERAL_NAME_num(names.get()) != 1)
    return refused("it must have exactly one subject alternative name");
  const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), 0);
  if (name->type != GEN_DNS) return refused("its subject alternative name is not a DNS name");
  if (text_of(name->d.dNSName) != identity) return refused("its DNS name is not the identity asked for");
  return {};
}

}  // namespace

Result<std::string> check_signing_request(std::string_view der, std::string_view identity) {
  if (der.empty() || der.size() > largest_request) return refused("its size is 0 or over 16 KiB");
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const auto* const end = at + der.size();
  const RequestPtr request(d2i_X509_REQ(nullptr, &at, static_cast<long>(der.size())));
  if (!request) return refused("it is not DER: " + openssl_error());
  if (at != end) return refused("bytes follow it");
  EVP_PKEY* key = X509_REQ_get0_pubkey(request.get());
  if (!is_p256(key)) return refused("its key is not on curve P-256");
  if (X509_REQ_verify(request.get(), key) != 1) {
    openssl_error();
    return refused("its signature is not by its own key");
  }
  if (auto subject = check_subject(request.get(), identity); !subject) return subject.error();
  if (auto names = check_names(request.get(), identity); !names) return names.error();

  unsigned char* bytes = nullptr;
  const int size = i2d_PUBKEY(key, &bytes);
  if (size <= 0) return refused("its key cannot be encoded: " + openssl_error());
  std::string out(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  OPENSSL_free(bytes);
  return out;
}

Result<OwnRequest> make_signing_request(const std::string& identity) {
  auto key = make_p256_key();
  if (!key) return key.error();
  const RequestPtr request(X509_REQ_new());
  ExtensionsPtr extensions(sk_X509_EXTENSION_new_null());
  const std::string name = "DNS:" + identity;
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, name.c_str());
  if (!request || !extensions || extension == nullptr) {
    return make_error(Errc::invalid_argument, "cannot ask for identity " + identity + ": " + openssl_error());
  }
  sk_X509_EXTENSION_push(extensions.get(), extension);
  bool ok = X509_REQ_set_version(request.get(), 0) == 1 &&
            X509_REQ_set_pubkey(request.get(), key->get()) == 1 &&
            X509_REQ_add_extensions(request.get(), extensions.get()) == 1;
  if (ok && identity.size() <= longest_common_name) {
    X509_NAME* subject = X509_REQ_get_subject_name(request.get());
    ok = X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(identity.data()),
                                    static_cast<int>(identity.size()), -1, 0) == 1;
  }
  unsigned char* bytes = nullptr;
  const int size = ok && X509_REQ_sign(request.get(), key->get(), EVP_sha256()) > 0
                       ? i2d_X509_REQ(request.get(), &bytes)
                       : 0;
  if (size <= 0) return make_error(Errc::internal, "cannot make a signing request: " + openssl_error());
  OwnRequest out;
  out.der.assign(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  OPENSSL_free(bytes);
  auto pem = to_pem(key->get());
  if (!pem) return pem.error();
  out.key_pem = std::move(*pem);
  return out;
}

}  // namespace heddle::control
