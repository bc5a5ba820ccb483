// SPDX-License-Identifier: Apache-2.0
#include "control/certify/signing_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csr.h"

namespace heddle::control {
namespace {

using test::Csr;
using ::testing::HasSubstr;

const std::string identity = "web.shop.serviceaccount.identity.heddle.cluster.local";

std::string refusal(const std::string& der) {
  const auto key = check_signing_request(der, identity);
  EXPECT_FALSE(key);
  return key ? std::string() : key.error().detail;
}

TEST(SigningRequest, AcceptsOneDnsNameWithOrWithoutTheCommonName) {
  EXPECT_TRUE(check_signing_request(test::good_csr(identity), identity));
  EXPECT_TRUE(check_signing_request(Csr{"", {"DNS:" + identity}}.der(), identity));
}

TEST(SigningRequest, AcceptsItsOwnEvenForALongName) {
  const std::string name = std::string(60, 'a') + "." + std::string(60, 'b') + ".cluster.local";
  const auto own = make_signing_request(name);
  ASSERT_TRUE(own) << own.error().message();
  EXPECT_TRUE(check_signing_request(own->der, name));
  EXPECT_THAT(own->key_pem, HasSubstr("PRIVATE KEY"));
}

TEST(SigningRequest, RefusesOtherNames) {
  EXPECT_THAT(refusal(test::good_csr("other.shop.svc")), HasSubstr("common name is not the identity"));
  EXPECT_THAT(refusal(Csr{identity, {"DNS:other"}}.der()), HasSubstr("DNS name is not the identity"));
  EXPECT_THAT(refusal(Csr{"", {"DNS:" + identity + ",DNS:other"}}.der()), HasSubstr("exactly one"));
  EXPECT_THAT(refusal(Csr{"", {"DNS:" + identity + ",IP:10.0.0.1"}}.der()), HasSubstr("exactly one"));
  EXPECT_THAT(refusal(Csr{"", {"DNS:" + identity + ",URI:spiffe://x/y"}}.der()), HasSubstr("exactly one"));
  EXPECT_THAT(refusal(Csr{"", {"email:a@b.example"}}.der()), HasSubstr("not a DNS name"));
  EXPECT_THAT(refusal(Csr{identity, {}}.der()), HasSubstr("no subject alternative name"));
  EXPECT_THAT(refusal(Csr{"", {"DNS:" + identity, "DNS:other"}}.der()), HasSubstr("more than one"));
  EXPECT_THAT(refusal(Csr{"", {"DNS:" + identity + "."}}.der()), HasSubstr("DNS name is not the identity"));
}

TEST(SigningRequest, RefusesAFurtherSubject) {
  EXPECT_THAT(refusal(Csr{identity, {"DNS:" + identity}, nullptr, nullptr, "system:masters"}.der()),
              HasSubstr("common name only"));
}

TEST(SigningRequest, RefusesOtherKeysAndForeignSignatures) {
  const auto p384 = test::ec_key("P-384");
  EXPECT_THAT(refusal(Csr{identity, {"DNS:" + identity}, p384.get()}.der()), HasSubstr("P-256"));
  const test::Key rsa(EVP_RSA_gen(2048));
  EXPECT_THAT(refusal(Csr{identity, {"DNS:" + identity}, rsa.get()}.der()), HasSubstr("P-256"));
  const auto mine = test::ec_key();
  const auto theirs = test::ec_key();
  EXPECT_THAT(refusal(Csr{identity, {"DNS:" + identity}, theirs.get(), mine.get()}.der()),
              HasSubstr("signature"));
}

TEST(SigningRequest, RefusesBytesThatAreNoRequest) {
  const std::string good = test::good_csr(identity);
  EXPECT_THAT(refusal(""), HasSubstr("size"));
  EXPECT_THAT(refusal(std::string(20'000, 'x')), HasSubstr("size"));
  EXPECT_THAT(refusal("hello"), HasSubstr("not DER"));
  EXPECT_THAT(refusal(good + "x"), HasSubstr("bytes follow"));
  for (std::size_t length = 1; length < good.size(); length += 7) refusal(good.substr(0, length));
  for (std::size_t i = 0; i < good.size(); i += 3) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x55);
    EXPECT_FALSE(check_signing_request(bad, identity)) << "byte " << i << " flipped";
  }
}

}  // namespace
}  // namespace heddle::control
