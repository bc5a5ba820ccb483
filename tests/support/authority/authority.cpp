// SPDX-License-Identifier: Apache-2.0
#include "tests/support/authority/authority.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <cstdlib>

namespace heddle::test {
namespace {

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

void must(bool ok) {
  if (!ok) std::abort();
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  must(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

Certificate make(EVP_PKEY* subject_key, const std::string& common_name, std::chrono::seconds begins,
                 std::chrono::seconds ends) {
  static std::atomic<long> serial{1};
  Certificate certificate(X509_new(), &X509_free);
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), serial++);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), begins.count());
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), ends.count());
  X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate.get()), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(common_name.substr(0, 64).c_str()), -1,
                             -1, 0);
  must(X509_set_pubkey(certificate.get(), subject_key) == 1);
  return certificate;
}

template <class Write>
std::string to_pem(Write write) {
  BIO* bio = BIO_new(BIO_s_mem());
  must(write(bio) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return out;
}

using Request = std::unique_ptr<X509_REQ, decltype(&X509_REQ_free)>;

Request parse(const std::string& der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  return {d2i_X509_REQ(nullptr, &at, static_cast<long>(der.size())), &X509_REQ_free};
}

}  // namespace

struct Authority::Impl {
  Key key{EVP_EC_gen("P-256"), &EVP_PKEY_free};
  Certificate root{nullptr, &X509_free};

  Certificate leaf(EVP_PKEY* subject_key, const Leaf& wanted) {
    auto made =
        make(subject_key, wanted.names.empty() ? "nameless" : wanted.names[0], wanted.begins, wanted.ends);
    X509_set_issuer_name(made.get(), X509_get_subject_name(root.get()));
    add_extension(made.get(), root.get(), NID_basic_constraints, "critical,CA:FALSE");
    add_extension(made.get(), root.get(), NID_key_usage, "critical,digitalSignature");
    add_extension(made.get(), root.get(), NID_ext_key_usage, "serverAuth,clientAuth");
    std::string names;
    for (const auto& name : wanted.names) {
      if (!names.empty()) names += ",";
      names += (name.find("://") == std::string::npos ? "DNS:" : "URI:") + name;
    }
    if (!names.empty()) add_extension(made.get(), root.get(), NID_subject_alt_name, names);
    must(X509_sign(made.get(), key.get(), EVP_sha256()) > 0);
    return made;
  }
};

Authority::Authority(const std::string& name) : impl_(std::make_unique<Impl>()) {
  impl_->root = make(impl_->key.get(), name, std::chrono::hours(-1), std::chrono::hours(24));
  X509* root = impl_->root.get();
  X509_set_issuer_name(root, X509_get_subject_name(root));
  add_extension(root, root, NID_basic_constraints, "critical,CA:TRUE");
  add_extension(root, root, NID_key_usage, "critical,keyCertSign");
  must(X509_sign(root, impl_->key.get(), EVP_sha256()) > 0);
}

Authority::~Authority() = default;

std::string Authority::root_pem() const {
  return to_pem([&](BIO* bio) { return PEM_write_bio_X509(bio, impl_->root.get()); });
}

std::string Authority::sign(const std::string& csr_der, const Leaf& leaf) {
  const Request request = parse(csr_der);
  must(request != nullptr);
  const auto made = impl_->leaf(X509_REQ_get0_pubkey(request.get()), leaf);
  unsigned char* der = nullptr;
  const int size = i2d_X509(made.get(), &der);
  std::string out(reinterpret_cast<const char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return out;
}

std::vector<std::string> Authority::requested_names(const std::string& csr_der) {
  std::vector<std::string> names;
  const Request request = parse(csr_der);
  if (!request || X509_REQ_verify(request.get(), X509_REQ_get0_pubkey(request.get())) != 1) return names;
  STACK_OF(X509_EXTENSION)* extensions = X509_REQ_get_extensions(request.get());
  auto* all = static_cast<GENERAL_NAMES*>(X509V3_get_d2i(extensions, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(all); ++i) {
    int type = 0;
    const auto* text =
        static_cast<const ASN1_STRING*>(GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all, i), &type));
    names.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                       static_cast<std::size_t>(ASN1_STRING_length(text)));
  }
  GENERAL_NAMES_free(all);
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  return names;
}

std::string Authority::requested_common_name(const std::string& csr_der) {
  const Request request = parse(csr_der);
  char text[256] = "";
  if (request)
    X509_NAME_get_text_by_NID(X509_REQ_get_subject_name(request.get()), NID_commonName, text, sizeof text);
  return text;
}

Authority::Pair Authority::issue(const Leaf& leaf) {
  const Key key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  const auto made = impl_->leaf(key.get(), leaf);
  return {to_pem([&](BIO* bio) {
            return PEM_write_bio_PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
          }),
          to_pem([&](BIO* bio) { return PEM_write_bio_X509(bio, made.get()); })};
}

}  // namespace heddle::test
