// SPDX-License-Identifier: Apache-2.0
#include "control/certify/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <set>

#include "control/certify/openssl.h"
#include "scratch_folder.h"

namespace heddle::control {
namespace {

using std::chrono::hours;
using ::testing::HasSubstr;

const std::string own_name = "heddle-control.heddle.serviceaccount.identity.heddle.cluster.local";

class StoreTest : public ::testing::Test {
 protected:
  StoreOptions options() const { return {folder_.file("state"), "cluster.local", {}, {}, {}, {}}; }
  std::string state(const std::string& name) const { return folder_.read("state/" + name); }

  test::ScratchFolder folder_;
};

unsigned mode_of(const std::string& path) {
  struct stat status{};
  EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
  return status.st_mode & 0777;
}

TEST_F(StoreTest, MakesAnAuthorityOnceAndFindsItAgain) {
  {
    ASSERT_TRUE(AuthorityStore::open(options()));
  }
  EXPECT_EQ(mode_of(folder_.file("state/issuer.key")), 0600U);
  EXPECT_EQ(mode_of(folder_.file("state/root.key")), 0600U);
  EXPECT_EQ(mode_of(folder_.file("state/trust-anchors.pem")), 0644U);
  EXPECT_EQ(state("trust-anchors.pem"), state("root.crt"));
  const std::string root = state("root.crt");
  const std::string issuer = state("issuer.crt");
  const auto again = AuthorityStore::open(options());
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(state("root.crt"), root);
  EXPECT_EQ(state("issuer.crt"), issuer);
}

TEST_F(StoreTest, IsForOneProcess) {
  const auto first = AuthorityStore::open(options());
  const auto second = AuthorityStore::open(options());
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().detail, HasSubstr("another heddle-control"));
}

TEST_F(StoreTest, RepairsWhatACrashBetweenTwoFilesLeaves) {
  {
    ASSERT_TRUE(AuthorityStore::open(options()));
  }
  const std::string root = state("root.crt");
  const std::string old_issuer = state("issuer.crt");
  // A new issuer's key was written, its certificate was not.
  folder_.put("state/issuer.key", make_issuer(make_root("x").value(), "x").value().key);
  {
    const auto store = AuthorityStore::open(options());
    ASSERT_TRUE(store) << store.error().message();
  }
  EXPECT_EQ(state("root.crt"), root) << "peers' anchors stay good";
  EXPECT_NE(state("issuer.crt"), old_issuer);

  folder_.remove("state/issuer.crt");
  {
    ASSERT_TRUE(AuthorityStore::open(options()));
  }
  EXPECT_EQ(state("root.crt"), root);

  folder_.remove("state/root.crt");
  EXPECT_FALSE(AuthorityStore::open(options())) << "peers trust the lost root";
  folder_.remove("state/trust-anchors.pem");  // a root's key was written, nobody saw its certificate
  EXPECT_TRUE(AuthorityStore::open(options()));
}

TEST_F(StoreTest, DoesNotReplaceARootWhoseKeyIsLost) {
  {
    ASSERT_TRUE(AuthorityStore::open(options()));
  }
  folder_.remove("state/root.key");
  const auto store = AuthorityStore::open(options());
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error().detail, HasSubstr("restore them"));
}

TEST_F(StoreTest, RenewsTheIssuerUnderTheSameRootAfterSeventyPercentOfItsLife) {
  const auto store = AuthorityStore::open(options()).value();
  const std::string root = state("root.crt");
  const std::string issuer = state("issuer.crt");
  ASSERT_TRUE(store->refresh(Clock::now() + hours(24 * 200)));
  EXPECT_EQ(state("issuer.crt"), issuer);
  const auto renewed = store->refresh(Clock::now() + hours(24 * 260));
  ASSERT_TRUE(renewed) << renewed.error().message();
  EXPECT_NE(state("issuer.crt"), issuer);
  EXPECT_EQ(state("trust-anchors.pem"), root);
}

TEST_F(StoreTest, RenewsItsOwnLeafAtSeventyPercentAndKeepsTheKey) {
  const auto store = AuthorityStore::open(options()).value();
  const auto now = Clock::now();
  ASSERT_TRUE(store->refresh_server_leaf(own_name, now));
  const std::string certificate = state("server.crt");
  const std::string key = state("server.key");
  ASSERT_TRUE(store->refresh_server_leaf(own_name, now + hours(16)));
  EXPECT_EQ(state("server.crt"), certificate);
  ASSERT_TRUE(store->refresh_server_leaf(own_name, now + hours(17)));
  EXPECT_NE(state("server.crt"), certificate);
  EXPECT_EQ(state("server.key"), key);
  const auto chain = read_certificates(state("server.crt"), "server").value();
  EXPECT_EQ(chain.size(), 2U) << "leaf and issuer";
  const auto read = read_key(key, "key").value();
  EXPECT_EQ(X509_check_private_key(chain.front().get(), read.get()), 1);
}

TEST_F(StoreTest, ItsOwnLeafIsValidAtEveryMomentWhenLookedAtEverySecond) {
  StoreOptions short_lived = options();
  short_lived.lifetimes = {std::chrono::seconds(5), std::chrono::seconds(5)};
  const auto store = AuthorityStore::open(short_lived).value();
  const auto begin = Clock::now();
  std::set<std::string> leaves;
  for (auto now = begin; now < begin + std::chrono::seconds(60); now += std::chrono::seconds(1)) {
    ASSERT_TRUE(store->refresh_server_leaf(own_name, now));
    leaves.insert(state("server.crt"));
    const auto chain = read_certificates(state("server.crt"), "server").value();
    EXPECT_LE(unix_time(X509_get0_notBefore(chain.front().get())), Clock::to_time_t(now));
    EXPECT_GT(unix_time(X509_get0_notAfter(chain.front().get())), Clock::to_time_t(now) + 1);
  }
  EXPECT_GE(leaves.size(), 8U) << "each lives 10 s and is renewed after 7";
  EXPECT_LE(leaves.size(), 10U);
}

TEST_F(StoreTest, UsesGivenFilesAndReadsThemAgain) {
  const Root root = make_root("corp").value();
  const auto put_issuer = [&] {
    const Issuer issuer = make_issuer(root, "corp issuer").value();
    folder_.put("ca.crt", issuer.certificate);
    folder_.put("ca.key", issuer.key);
  };
  put_issuer();
  folder_.put("anchors.pem", root.certificate);
  StoreOptions given = options();
  given.issuer_certificate_path = folder_.file("ca.crt");
  given.issuer_key_path = folder_.file("ca.key");
  given.trust_anchors_path = folder_.file("anchors.pem");
  const auto store = AuthorityStore::open(given);
  ASSERT_TRUE(store) << store.error().message();
  EXPECT_EQ(state("trust-anchors.pem"), root.certificate);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("state/root.key")));

  const auto before = (*store)->current();
  ASSERT_TRUE((*store)->refresh());
  EXPECT_EQ((*store)->current(), before);
  put_issuer();
  ASSERT_TRUE((*store)->refresh());
  EXPECT_NE((*store)->current(), before);
  folder_.put("ca.key", "broken");
  EXPECT_FALSE((*store)->refresh());
  EXPECT_NE((*store)->current(), nullptr) << "the last good one stays";
}

TEST_F(StoreTest, WantsAllThreeGivenFilesOrNone) {
  StoreOptions some = options();
  some.issuer_key_path = "x";
  const auto store = AuthorityStore::open(some);
  ASSERT_FALSE(store);
  EXPECT_THAT(store.error().detail, HasSubstr("--trust-anchors"));
}

}  // namespace
}  // namespace heddle::control
