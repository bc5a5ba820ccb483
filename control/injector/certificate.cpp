// SPDX-License-Identifier: Apache-2.0
#include "control/injector/certificate.h"

#include "control/certify/build.h"
#include "control/certify/openssl.h"

namespace heddle::control {
namespace {

using Clock = std::chrono::system_clock;

constexpr std::int64_t life = 365LL * 24 * 3600;
constexpr std::int64_t clocks_may_lag = 3600;
constexpr std::size_t most_earlier = 3;

CertificatePlan plan(CertificateKind kind, std::string name, CertificateTime now) {
  CertificatePlan out;
  out.kind = kind;
  out.name = std::move(name);
  out.not_before = Clock::to_time_t(now) - clocks_may_lag;
  out.not_after = Clock::to_time_t(now) + life;
  return out;
}

// Of those that are readable and have not expired, the first few.
Result<std::string> still_good(const std::string& authorities, CertificateTime now) {
  std::string out;
  const auto certificates = read_certificates(authorities, "earlier authorities");
  if (!certificates) return out;  // nothing is verified with what cannot be read
  std::size_t kept = 0;
  for (const auto& certificate : *certificates) {
    if (unix_time(X509_get0_notAfter(certificate.get())) <= Clock::to_time_t(now)) continue;
    if (kept++ == most_earlier) break;
    auto pem = to_pem(certificate.get());
    if (!pem) return pem.error();
    out += *pem;
  }
  return out;
}

}  // namespace

Result<WebhookCertificate> make_webhook_certificate(const std::string& dns_name, const std::string& earlier,
                                                    CertificateTime now) {
  auto root_key = make_p256_key();
  if (!root_key) return root_key.error();
  auto key = make_p256_key();
  if (!key) return key.error();
  // Successive authorities have different names, so that a verifier finds the right one at once.
  const std::string root_name = "heddle-injector-ca-" + std::to_string(Clock::to_time_t(now));
  const auto root = build_certificate(plan(CertificateKind::root, root_name, now), root_key->get(), nullptr,
                                      root_key->get());
  if (!root) return root.error();
  const auto leaf =
      build_certificate(plan(CertificateKind::leaf, dns_name, now), key->get(), root->get(), root_key->get());
  if (!leaf) return leaf.error();
  const auto root_pem = to_pem(root->get());
  if (!root_pem) return root_pem.error();
  auto leaf_pem = to_pem(leaf->get());
  if (!leaf_pem) return leaf_pem.error();
  auto key_pem = to_pem(key->get());
  if (!key_pem) return key_pem.error();
  const auto kept = still_good(earlier, now);
  if (!kept) return kept.error();
  return WebhookCertificate{std::move(*leaf_pem), std::move(*key_pem), *root_pem + *kept};
}

Result<CertificateLife> check_webhook_certificate(const WebhookCertificate& certificate) {
  const auto chain = read_certificates(certificate.certificate, "tls.crt");
  if (!chain) return chain.error();
  if (chain->empty()) return make_error(Errc::invalid_argument, "tls.crt holds no certificate");
  const auto key = read_key(certificate.key, "tls.key");
  if (!key) return key.error();
  X509* leaf = chain->front().get();
  if (X509_check_private_key(leaf, key->get()) != 1) {
    (void)openssl_error();
    return make_error(Errc::invalid_argument, "tls.key is not the key of tls.crt");
  }
  return CertificateLife{Clock::from_time_t(unix_time(X509_get0_notBefore(leaf))),
                         Clock::from_time_t(unix_time(X509_get0_notAfter(leaf)))};
}

}  // namespace heddle::control
