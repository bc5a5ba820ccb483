// SPDX-License-Identifier: Apache-2.0
#include "control/certify/certifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csr.h"
#include "scratch_folder.h"
#include "world.h"

namespace heddle::control {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string identity = "web.shop.serviceaccount.identity.heddle.cluster.local";
constexpr std::string_view pods = R"(
{apiVersion: v1, kind: Pod, metadata: {name: web-1, namespace: shop}, spec: {nodeName: n1, serviceAccountName: web}}
---
{apiVersion: v1, kind: Pod, metadata: {name: db-1, namespace: shop}, spec: {nodeName: n2, serviceAccountName: db}}
---
{apiVersion: v1, kind: Pod, metadata: {name: job, namespace: shop}, spec: {nodeName: n1, serviceAccountName: job}, status: {phase: Succeeded}}
---
{apiVersion: v1, kind: Pod, metadata: {name: host, namespace: shop}, spec: {nodeName: n1, serviceAccountName: host, hostNetwork: true}}
)";

class CertifierTest : public ::testing::Test {
 protected:
  CertifierTest() {
    const Root root = make_root("cluster.local").value();
    const Issuer issuer = make_issuer(root, "issuer").value();
    authority_ = Authority::load({issuer.certificate, issuer.key, root.certificate}, {}).value();
    folder_.put("n1.token", "one-one-one-one\n");
    folder_.put("n2.token", "two-two-two-two");
    folder_.put("n3.token", "");
  }

  std::optional<Refused> refusal(const std::string& token, const std::string& name = identity,
                                 const std::string& csr = {}) {
    const auto outcome =
        certifier_.certify({name, token, csr.empty() ? test::good_csr(name) : csr}, *snapshot_);
    if (const auto* refused = std::get_if<Refused>(&outcome)) return *refused;
    return std::nullopt;
  }

  test::ScratchFolder folder_;
  std::shared_ptr<const Authority> authority_;
  std::shared_ptr<const source::Snapshot> snapshot_ = test::snapshot_of(pods);
  Certifier certifier_{{}, NodeTokens(folder_.path()), [this] { return authority_; }};
};

TEST_F(CertifierTest, GivesANodeItsOwnPodsIdentities) {
  EXPECT_FALSE(refusal("n1:one-one-one-one"));
  EXPECT_EQ(certifier_.counters().issued, 1U);
}

TEST_F(CertifierTest, RefusesIdentitiesOfPodsElsewhereGoneOrOnTheHost) {
  for (const std::string account : {"db", "job", "host", "nobody"}) {
    const auto refused =
        refusal("n1:one-one-one-one", account + ".shop.serviceaccount.identity.heddle.cluster.local");
    ASSERT_TRUE(refused) << account;
    EXPECT_EQ(refused->reason, Refusal::not_scheduled) << account;
    EXPECT_THAT(refused->why, HasSubstr("scheduled on node n1"));
  }
  EXPECT_FALSE(refusal("n2:two-two-two-two", "db.shop.serviceaccount.identity.heddle.cluster.local"));
}

TEST_F(CertifierTest, RefusesWrongTokensAllWithTheSameWords) {
  const std::string expected = refusal("n1:wrong")->why;
  for (const std::string token : {"n1:", "n1", "", ":", ":one-one-one-one", "n2:one-one-one-one",
                                  "n9:one-one-one-one", "n3:", "n3: ", "../n1:one-one-one-one",
                                  "./n1:one-one-one-one", "N1:one-one-one-one", "n1:one-one-one-one:"}) {
    const auto refused = refusal(token);
    ASSERT_TRUE(refused) << token;
    EXPECT_EQ(refused->reason, Refusal::token) << token;
    EXPECT_EQ(refused->why, expected) << token;
    EXPECT_THAT(refused->why, Not(HasSubstr("one-one")));
  }
  EXPECT_TRUE(refusal(std::string(10'000, 'x')));
  EXPECT_GE(certifier_.counters().refused[static_cast<std::size_t>(Refusal::token)], 14U);
}

TEST_F(CertifierTest, ReadsAChangedTokenAtOnce) {
  folder_.put("n1.token", "another-secret");
  EXPECT_TRUE(refusal("n1:one-one-one-one"));
  EXPECT_FALSE(refusal("n1:another-secret"));
  folder_.remove("n1.token");
  EXPECT_TRUE(refusal("n1:another-secret"));
}

TEST_F(CertifierTest, RefusesARequestForAnotherIdentityThanItNames) {
  const auto refused = refusal("n1:one-one-one-one", identity,
                               test::good_csr("db.shop.serviceaccount.identity.heddle.cluster.local"));
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->reason, Refusal::bad_request);
}

TEST_F(CertifierTest, RefusesIdentitiesThatAreNoNames) {
  for (const std::string name : {"", ".", "a b", "a,DNS:b", "a..b", "*.cluster.local"}) {
    const auto refused = refusal("n1:one-one-one-one", name, test::good_csr(identity));
    ASSERT_TRUE(refused) << name;
    EXPECT_EQ(refused->reason, Refusal::bad_request) << name;
  }
}

TEST_F(CertifierTest, BoundsTheRateOfEachNode) {
  const std::string csr = test::good_csr(identity);
  std::size_t issued = 0;
  std::optional<Refused> refused;
  for (int i = 0; i < 5000 && !refused; ++i) {
    refused = refusal("n1:one-one-one-one", identity, csr);
    issued += refused ? 0 : 1;
  }
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->reason, Refusal::rate);
  EXPECT_GE(issued, 1000U);
  EXPECT_FALSE(refusal("n2:two-two-two-two", "db.shop.serviceaccount.identity.heddle.cluster.local"));
}

TEST_F(CertifierTest, CountsARequestThatWaitsForItsPodOnce) {
  const std::string late = "late.shop.serviceaccount.identity.heddle.cluster.local";
  const Certifier::Request request{late, "n1:one-one-one-one", test::good_csr(late)};
  auto attempt = Attempt::first;
  for (int snapshot = 0; snapshot < 2000; ++snapshot) {
    const auto outcome = certifier_.certify(request, *snapshot_, attempt);
    ASSERT_TRUE(std::holds_alternative<Refused>(outcome));
    ASSERT_EQ(std::get<Refused>(outcome).reason, Refusal::not_scheduled) << "after " << snapshot;
    attempt = Attempt::again;
  }
  EXPECT_EQ(certifier_.counters().refused[static_cast<std::size_t>(Refusal::not_scheduled)], 0U);
  EXPECT_FALSE(refusal("n1:one-one-one-one")) << "the node's other requests are not held up";
  (void)certifier_.certify(request, *snapshot_, Attempt::last);
  EXPECT_EQ(certifier_.counters().refused[static_cast<std::size_t>(Refusal::not_scheduled)], 1U);
}

TEST(Rate, AllowsABurstAndThenTheRate) {
  Rate rate(10, 3);
  Rate::Time now = Rate::Time() + std::chrono::hours(1);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(rate.take(now));
  EXPECT_FALSE(rate.take(now));
  now += std::chrono::milliseconds(150);
  EXPECT_TRUE(rate.take(now));
  EXPECT_FALSE(rate.take(now));
  now += std::chrono::hours(1);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(rate.take(now));
  EXPECT_FALSE(rate.take(now)) << "the burst is the most that is saved up";
}

}  // namespace
}  // namespace heddle::control
