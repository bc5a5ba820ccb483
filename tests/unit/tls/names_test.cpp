// SPDX-License-Identifier: Apache-2.0
#include "proxy/tls/names.h"

#include <gtest/gtest.h>

#include "proxy/tls/key.h"
#include "tests/support/authority/authority.h"

namespace heddle::proxy::tls {
namespace {

std::vector<std::string> names(const std::string& der) {
  return names_of_der(std::as_bytes(std::span(der)));
}

TEST(Names, AreReadInOrderFromTheSubjectAltName) {
  test::Authority authority;
  const auto csr = make_request(make_key().value(), "a.b").value();
  test::Authority::Leaf leaf;
  leaf.names = {"a.b", "spiffe://x/y", "c.d"};
  EXPECT_EQ(names(authority.sign(csr, leaf)), leaf.names);
}

TEST(Names, AreNoneWithoutASubjectAltName) {
  test::Authority authority;
  const auto csr = make_request(make_key().value(), "a.b").value();
  EXPECT_TRUE(names(authority.sign(csr, {})).empty());
}

TEST(Names, AreNoneInGarbage) {
  EXPECT_TRUE(names("").empty());
  EXPECT_TRUE(names("garbage").empty());
}

TEST(Request, AsksForExactlyTheIdentity) {
  const std::string identity = "web.shop.serviceaccount.identity.heddle.cluster.local";
  const auto csr = make_request(make_key().value(), identity).value();
  EXPECT_EQ(test::Authority::requested_names(csr), std::vector<std::string>{identity});
  EXPECT_EQ(test::Authority::requested_common_name(csr), identity);
}

TEST(Request, LeavesOutACommonNameThatWouldBeTooLong) {
  const std::string identity = std::string(60, 'a') + ".shop.serviceaccount.identity.heddle.cluster.local";
  const auto csr = make_request(make_key().value(), identity).value();
  EXPECT_EQ(test::Authority::requested_names(csr), std::vector<std::string>{identity});
  EXPECT_EQ(test::Authority::requested_common_name(csr), "");
}

}  // namespace
}  // namespace heddle::proxy::tls
