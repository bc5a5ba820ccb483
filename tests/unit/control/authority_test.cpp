// SPDX-License-Identifier: Apache-2.0
#include "control/certify/authority.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>

#include "control/certify/openssl.h"
#include "control/certify/signing_request.h"
#include "csr.h"

namespace heddle::control {
namespace {

using std::chrono::hours;
using std::chrono::seconds;
using ::testing::HasSubstr;

const std::string identity = "web.shop.serviceaccount.identity.heddle.cluster.local";

struct Made {
  Root root;
  Issuer issuer;
  AuthorityFiles files() const { return {issuer.certificate, issuer.key, root.certificate}; }
};

Made make(Clock::time_point now = Clock::now()) {
  Made made;
  made.root = make_root("cluster.local", now).value();
  made.issuer = make_issuer(made.root, "issuer", now).value();
  return made;
}

CertificatePtr parse_der(const std::string& der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  return CertificatePtr(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
}

std::string key_for(const std::string& name = identity) {
  return check_signing_request(test::good_csr(name), name).value();
}

// X509_V_OK, or why a peer would not accept the leaf.
int verify(const IssuedCertificate& issued, const std::string& anchors, int purpose) {
  X509_STORE* store = X509_STORE_new();
  const auto roots = read_certificates(anchors, "anchors").value();
  for (const auto& root : roots) X509_STORE_add_cert(store, root.get());
  STACK_OF(X509)* chain = sk_X509_new_null();
  std::vector<CertificatePtr> intermediates;
  for (const auto& der : issued.intermediates) {
    intermediates.push_back(parse_der(der));
    sk_X509_push(chain, intermediates.back().get());
  }
  const CertificatePtr leaf = parse_der(issued.leaf);
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, leaf.get(), chain);
  X509_STORE_CTX_set_purpose(context, purpose);
  X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(context), identity.c_str(), 0);
  X509_verify_cert(context);
  const int result = X509_STORE_CTX_get_error(context);
  X509_STORE_CTX_free(context);
  sk_X509_free(chain);
  X509_STORE_free(store);
  return result;
}

TEST(Authority, IssuesLeavesThatPeersAcceptInBothRoles) {
  const Made made = make();
  const auto authority = Authority::load(made.files(), {}).value();
  const auto issued = authority->issue(key_for(), identity).value();
  EXPECT_EQ(verify(issued, made.root.certificate, X509_PURPOSE_SSL_SERVER), X509_V_OK);
  EXPECT_EQ(verify(issued, made.root.certificate, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
  EXPECT_NE(verify(issued, make().root.certificate, X509_PURPOSE_SSL_SERVER), X509_V_OK);
  EXPECT_EQ(issued.intermediates.size(), 1U) << "the issuer, not the root";
  const CertificatePtr leaf = parse_der(issued.leaf);
  EXPECT_EQ(X509_check_ca(leaf.get()), 0);
  EXPECT_EQ(X509_get_signature_nid(leaf.get()), NID_ecdsa_with_SHA256);
  EXPECT_EQ(X509_get_version(leaf.get()), X509_VERSION_3);
}

TEST(Authority, GivesEachLeafTheLifeAskedForAndItsOwnSerialNumber) {
  const auto authority = Authority::load(make().files(), {}).value();
  const auto now = Clock::from_time_t(Clock::to_time_t(Clock::now()));
  const auto issued = authority->issue(key_for(), identity, now).value();
  const CertificatePtr leaf = parse_der(issued.leaf);
  EXPECT_EQ(unix_time(X509_get0_notBefore(leaf.get())), Clock::to_time_t(now) - 20);
  EXPECT_EQ(unix_time(X509_get0_notAfter(leaf.get())), Clock::to_time_t(now) + 24 * 3600 + 20);
  EXPECT_EQ(issued.valid_until, now + hours(24) + seconds(20));
  const CertificatePtr other = parse_der(authority->issue(key_for(), identity, now).value().leaf);
  EXPECT_NE(ASN1_INTEGER_cmp(X509_get0_serialNumber(leaf.get()), X509_get0_serialNumber(other.get())), 0);
}

TEST(Authority, ClampsALeafToTheIssuersLifeAndStopsWhenThatIsOver) {
  const auto authority = Authority::load(make().files(), {}).value();
  const auto late = authority->not_after() - hours(2);
  EXPECT_EQ(authority->issue(key_for(), identity, late).value().valid_until, authority->not_after());
  const auto expired = authority->issue(key_for(), identity, authority->not_after());
  ASSERT_FALSE(expired);
  EXPECT_EQ(expired.error().code, make_error_code(Errc::unavailable));
}

TEST(Authority, PutsALongIdentityInTheAlternativeNameOnly) {
  const std::string name = std::string(63, 'a') + "." + std::string(63, 'b') + ".cluster.local";
  const auto authority = Authority::load(make().files(), {}).value();
  const CertificatePtr leaf = parse_der(authority->issue(key_for(name), name).value().leaf);
  EXPECT_EQ(X509_NAME_entry_count(X509_get_subject_name(leaf.get())), 0);
  EXPECT_EQ(X509_check_host(leaf.get(), name.c_str(), name.size(), 0, nullptr), 1);
}

TEST(Authority, DoesNotLetANameSmuggleInASecondOne) {
  const auto authority = Authority::load(make().files(), {}).value();
  const CertificatePtr leaf = parse_der(authority->issue(key_for(), "a,DNS:evil").value().leaf);
  EXPECT_EQ(X509_check_host(leaf.get(), "evil", 4, 0, nullptr), 0);
}

std::string load_error(const AuthorityFiles& files, Clock::time_point now = Clock::now()) {
  const auto loaded = Authority::load(files, {}, now);
  EXPECT_FALSE(loaded);
  return loaded ? std::string() : loaded.error().detail;
}

TEST(Authority, RefusesFilesThatDoNotFitTogether) {
  const Made made = make();
  const Made other = make();
  EXPECT_THAT(load_error({made.issuer.certificate, other.issuer.key, made.root.certificate}),
              HasSubstr("key does not belong"));
  EXPECT_THAT(load_error({made.issuer.certificate, made.issuer.key, other.root.certificate}),
              HasSubstr("do not vouch"));
  EXPECT_THAT(load_error({"", made.issuer.key, made.root.certificate}),
              HasSubstr("issuer certificate: holds no PEM"));
  EXPECT_THAT(load_error({made.issuer.certificate, "nonsense", made.root.certificate}),
              HasSubstr("issuer key: not an unencrypted PEM"));
  EXPECT_THAT(load_error({"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", made.issuer.key,
                          made.root.certificate}),
              HasSubstr("issuer certificate: not a PEM"));
}

TEST(Authority, RefusesALeafAsIssuer) {
  const Made made = make();
  const auto authority = Authority::load(made.files(), {}).value();
  const auto own = make_signing_request(identity).value();
  const auto leaf = authority->issue(check_signing_request(own.der, identity).value(), identity).value();
  const std::string pem = to_pem(parse_der(leaf.leaf).get()).value() + made.issuer.certificate;
  EXPECT_THAT(load_error({pem, own.key_pem, made.root.certificate}), HasSubstr("may not sign"));
}

TEST(Authority, RefusesAnExpiredIssuerAndOneOfTheFuture) {
  const Made made = make();
  EXPECT_THAT(load_error(made.files(), Clock::now() + hours(24 * 366)), HasSubstr("expired"));
  EXPECT_THAT(load_error(made.files(), Clock::now() - hours(24)), HasSubstr("not yet valid"));
}

TEST(Authority, WorksWithSeveralAnchorsAndWithARootThatSignsItself) {
  const Made made = make();
  AuthorityFiles files = made.files();
  files.trust_anchors = make().root.certificate + made.root.certificate;
  EXPECT_TRUE(Authority::load(files, {}));
  const auto root_as_issuer =
      Authority::load({made.root.certificate, made.root.key, made.root.certificate}, {}).value();
  const auto issued = root_as_issuer->issue(key_for(), identity).value();
  EXPECT_TRUE(issued.intermediates.empty());
  EXPECT_EQ(verify(issued, made.root.certificate, X509_PURPOSE_SSL_SERVER), X509_V_OK);
}

}  // namespace
}  // namespace heddle::control
