// SPDX-License-Identifier: Apache-2.0
#include "control/certify/authority.h"

#include <algorithm>

#include "control/certify/build.h"
#include "control/certify/openssl.h"

namespace heddle::control {

struct Authority::Parts {
  std::vector<CertificatePtr> chain;  // issuer first
  std::vector<std::string> chain_der;
  KeyPtr key;
  std::string trust_anchors;
  Lifetimes lifetimes;
  std::int64_t not_before = 0;
  std::int64_t not_after = 0;
};

namespace {

using StorePtr = std::unique_ptr<X509_STORE, Freed<X509_STORE_free>>;
using StoreContextPtr = std::unique_ptr<X509_STORE_CTX, Freed<X509_STORE_CTX_free>>;

// That some anchor vouches for the issuer, now.
Result<> verify_chain(const std::vector<CertificatePtr>& chain, const std::vector<CertificatePtr>& anchors,
                      Clock::time_point now) {
  const StorePtr store(X509_STORE_new());
  const StoreContextPtr context(X509_STORE_CTX_new());
  const CertificatesPtr intermediates(sk_X509_new_null());
  if (!store || !context || !intermediates) return make_error(Errc::internal, openssl_error());
  for (const CertificatePtr& anchor : anchors) X509_STORE_add_cert(store.get(), anchor.get());
  for (std::size_t i = 1; i < chain.size(); ++i) {
    X509_up_ref(chain[i].get());
    sk_X509_push(intermediates.get(), chain[i].get());
  }
  X509_STORE_CTX_init(context.get(), store.get(), chain.front().get(), intermediates.get());
  X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(context.get()), Clock::to_time_t(now));
  if (X509_verify_cert(context.get()) == 1) return {};
  const std::string why = X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()));
  openssl_error();
  return make_error(Errc::invalid_argument,
                    "the trust anchors do not vouch for the issuer certificate: " + why +
                        ". Check that both files belong together and that neither has expired");
}

Result<> check_issuer(X509* issuer, EVP_PKEY* key) {
  if (X509_check_ca(issuer) != 1 || (X509_get_key_usage(issuer) & KU_KEY_CERT_SIGN) == 0) {
    return make_error(
        Errc::invalid_argument,
        "the issuer certificate may not sign others (basicConstraints CA, keyUsage keyCertSign)");
  }
  if (X509_check_private_key(issuer, key) != 1) {
    openssl_error();
    return make_error(Errc::invalid_argument, "the issuer key does not belong to the issuer certificate");
  }
  return {};
}

// Roots are for the peers to have; sending one adds nothing.
void drop_roots(std::vector<CertificatePtr>& chain) {
  while (chain.size() > 1 && X509_self_signed(chain.back().get(), 0) == 1) chain.pop_back();
}

}  // namespace

Authority::Authority(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Authority::~Authority() = default;

Result<std::shared_ptr<const Authority>> Authority::load(const AuthorityFiles& files, Lifetimes lifetimes,
                                                         Clock::time_point now) {
  auto chain = read_certificates(files.issuer_certificate, "issuer certificate");
  if (!chain) return chain.error();
  auto key = read_key(files.issuer_key, "issuer key");
  if (!key) return key.error();
  auto anchors = read_certificates(files.trust_anchors, "trust anchors");
  if (!anchors) return anchors.error();
  if (auto usable = check_issuer(chain->front().get(), key->get()); !usable) return usable.error();
  if (auto verified = verify_chain(*chain, *anchors, now); !verified) return verified.error();

  auto parts = std::make_unique<Parts>();
  drop_roots(*chain);
  for (const CertificatePtr& certificate : *chain) {
    // An issuer that is itself an anchor is a root: nothing to send.
    if (X509_self_signed(certificate.get(), 0) == 1) continue;
    auto der = to_der(certificate.get());
    if (!der) return der.error();
    parts->chain_der.push_back(std::move(*der));
  }
  parts->not_before = unix_time(X509_get0_notBefore(chain->front().get()));
  parts->not_after = unix_time(X509_get0_notAfter(chain->front().get()));
  parts->chain = std::move(*chain);
  parts->key = std::move(*key);
  parts->trust_anchors = files.trust_anchors;
  parts->lifetimes = lifetimes;
  return std::shared_ptr<const Authority>(new Authority(std::move(parts)));
}

Result<IssuedCertificate> Authority::issue(std::string_view public_key, const std::string& identity,
                                           Clock::time_point now) const {
  const std::int64_t now_unix = Clock::to_time_t(now);
  if (now_unix >= parts_->not_after) {
    return make_error(Errc::unavailable, "the issuer certificate has expired: replace it");
  }
  const auto* at = reinterpret_cast<const unsigned char*>(public_key.data());
  const KeyPtr subject_key(d2i_PUBKEY(nullptr, &at, static_cast<long>(public_key.size())));
  if (!subject_key) return make_error(Errc::invalid_argument, "unreadable public key: " + openssl_error());

  CertificatePlan plan;
  plan.kind = CertificateKind::leaf;
  plan.name = identity;
  plan.not_before = std::max(now_unix - parts_->lifetimes.skew.count(), parts_->not_before);
  plan.not_after =
      std::min(now_unix + parts_->lifetimes.leaf.count() + parts_->lifetimes.skew.count(), parts_->not_after);
  auto leaf = build_certificate(plan, subject_key.get(), parts_->chain.front().get(), parts_->key.get());
  if (!leaf) return leaf.error();
  auto der = to_der(leaf->get());
  if (!der) return der.error();
  return IssuedCertificate{std::move(*der), parts_->chain_der, Clock::from_time_t(plan.not_after)};
}

Clock::time_point Authority::not_before() const {
  return Clock::from_time_t(parts_->not_before);
}
Clock::time_point Authority::not_after() const {
  return Clock::from_time_t(parts_->not_after);
}
const std::string& Authority::trust_anchors() const {
  return parts_->trust_anchors;
}

Result<Root> make_root(const std::string& trust_domain, Clock::time_point now) {
  auto key = make_p256_key();
  if (!key) return key.error();
  CertificatePlan plan;
  plan.kind = CertificateKind::root;
  plan.name = "root.heddle." + trust_domain;
  plan.not_before = Clock::to_time_t(now) - 3600;  // nodes' clocks may lag
  plan.not_after = Clock::to_time_t(now) + 3650LL * 24 * 3600;
  auto certificate = build_certificate(plan, key->get(), nullptr, key->get());
  if (!certificate) return certificate.error();
  auto certificate_pem = to_pem(certificate->get());
  auto key_pem = to_pem(key->get());
  if (!certificate_pem) return certificate_pem.error();
  if (!key_pem) return key_pem.error();
  return Root{std::move(*certificate_pem), std::move(*key_pem)};
}

Result<Issuer> make_issuer(const Root& root, const std::string& name, Clock::time_point now) {
  auto root_certificates = read_certificates(root.certificate, "root certificate");
  if (!root_certificates) return root_certificates.error();
  auto root_key = read_key(root.key, "root key");
  if (!root_key) return root_key.error();
  X509* root_certificate = root_certificates->front().get();
  if (auto usable = check_issuer(root_certificate, root_key->get()); !usable) return usable.error();
  auto key = make_p256_key();
  if (!key) return key.error();

  CertificatePlan plan;
  plan.kind = CertificateKind::issuer;
  plan.name = name;
  plan.not_before =
      std::max<std::int64_t>(Clock::to_time_t(now) - 3600, unix_time(X509_get0_notBefore(root_certificate)));
  plan.not_after = std::min<std::int64_t>(Clock::to_time_t(now) + 365LL * 24 * 3600,
                                          unix_time(X509_get0_notAfter(root_certificate)));
  auto certificate = build_certificate(plan, key->get(), root_certificate, root_key->get());
  if (!certificate) return certificate.error();
  auto certificate_pem = to_pem(certificate->get());
  auto key_pem = to_pem(key->get());
  if (!certificate_pem) return certificate_pem.error();
  if (!key_pem) return key_pem.error();
  return Issuer{std::move(*certificate_pem), std::move(*key_pem)};
}

}  // namespace heddle::control
