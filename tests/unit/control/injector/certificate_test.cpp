// SPDX-License-Identifier: Apache-2.0
#include "control/injector/certificate.h"

#include <gmock/gmock.h>

#include "control/certify/openssl.h"

namespace heddle::test {
namespace {

using namespace control;
using Clock = std::chrono::system_clock;

std::size_t count(const std::string& pem) {
  std::size_t out = 0;
  for (auto at = pem.find("BEGIN CERT"); at != std::string::npos; at = pem.find("BEGIN CERT", at + 1)) ++out;
  return out;
}

// Whether what begins the texts verifies, by any of the authorities.
bool verifies(const std::string& certificate, const std::string& authorities) {
  const auto leaf = read_certificates(certificate, "leaf");
  const auto roots = read_certificates(authorities, "roots");
  if (!leaf || !roots) return false;
  X509_STORE* store = X509_STORE_new();
  for (const auto& root : *roots) X509_STORE_add_cert(store, root.get());
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, leaf->front().get(), nullptr);
  X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(context), "heddle-injector.heddle.svc", 0);
  const bool ok = X509_verify_cert(context) == 1;
  X509_STORE_CTX_free(context);
  X509_STORE_free(store);
  return ok;
}

WebhookCertificate make(const std::string& earlier, Clock::time_point now = Clock::now()) {
  auto made = make_webhook_certificate("heddle-injector.heddle.svc", earlier, now);
  EXPECT_TRUE(made);
  return made ? std::move(*made) : WebhookCertificate();
}

TEST(WebhookCertificate, IsVerifiedByItsAuthorityForTheServicesName) {
  const auto made = make("");
  EXPECT_TRUE(verifies(made.certificate, made.authorities));
  EXPECT_FALSE(verifies(made.certificate, make("").authorities));
  EXPECT_EQ(made.authorities.find("PRIVATE"), std::string::npos);
}

TEST(WebhookCertificate, IsDueWhenAThirdOfItsLifeIsLeft) {
  const auto now = Clock::now();
  const auto life = check_webhook_certificate(make("", now));
  ASSERT_TRUE(life);
  EXPECT_FALSE(life->due(now + std::chrono::hours(24 * 240)));
  EXPECT_TRUE(life->due(now + std::chrono::hours(24 * 246)));
  EXPECT_FALSE(life->over(now + std::chrono::hours(24 * 364)));
  EXPECT_TRUE(life->over(now + std::chrono::hours(24 * 366)));
}

TEST(WebhookCertificate, LeavesEarlierOnesVerifiableWhenRenewed) {
  const auto old = make("");
  const auto renewed = make(old.authorities);
  EXPECT_TRUE(verifies(old.certificate, renewed.authorities));
  EXPECT_TRUE(verifies(renewed.certificate, renewed.authorities));
}

TEST(WebhookCertificate, ForgetsAuthoritiesThatHaveExpiredAndThoseBeyondAFew) {
  const auto now = Clock::now();
  const auto expired = make("", now - std::chrono::hours(24 * 400));
  EXPECT_EQ(count(make(expired.authorities, now).authorities), 1U);
  std::string authorities;
  for (int i = 0; i < 6; ++i) authorities = make(authorities, now).authorities;
  EXPECT_EQ(count(authorities), 4U);
  EXPECT_EQ(count(make("rubbish", now).authorities), 1U);
}

TEST(WebhookCertificate, WithTheKeyOfAnotherIsRefused) {
  auto mixed = make("");
  mixed.key = make("").key;
  EXPECT_FALSE(check_webhook_certificate(mixed));
  mixed.key = "";
  EXPECT_FALSE(check_webhook_certificate(mixed));
  EXPECT_FALSE(check_webhook_certificate({}));
}

}  // namespace
}  // namespace heddle::test
