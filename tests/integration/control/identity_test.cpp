// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "client.h"
#include "csr.h"
#include "process.h"

namespace heddle::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string web = "web.shop.serviceaccount.identity.heddle.cluster.local";
const std::string db = "db.shop.serviceaccount.identity.heddle.cluster.local";

std::string pod(const std::string& name, const std::string& account, const std::string& node) {
  return "{apiVersion: v1, kind: Pod, metadata: {name: " + name +
         ", namespace: shop}, spec: {nodeName: " + node + ", serviceAccountName: " + account + "}}\n";
}

class Identity : public ::testing::Test {
 protected:
  void SetUp() override {
    control_.put("web.yaml", pod("web-1", "web", "n1"));
    control_.put("db.yaml", pod("db-1", "db", "n2"));
    control_.put_token("n1", "secret-of-n1");
    control_.start();
    connect();
  }
  void connect() { channel_.emplace(control_.identity_address(), control_.state("trust-anchors.pem")); }

  Status ask(const std::string& identity, const std::string& token, const std::string& csr) {
    identity_api::CertifyRequest request;
    request.set_identity(identity);
    request.set_token(token);
    request.set_certificate_signing_request(csr);
    response_.Clear();
    return certify(*channel_, request, response_);
  }

  ControlProcess control_;
  std::optional<Channel> channel_;
  identity_api::CertifyResponse response_;
};

TEST_F(Identity, GivesANodeACertificateForItsPod) {
  const Status status = ask(web, "n1:secret-of-n1", good_csr(web));
  ASSERT_EQ(status.code, ok) << status.message;
  const auto* at = reinterpret_cast<const unsigned char*>(response_.leaf_certificate().data());
  X509* leaf = d2i_X509(nullptr, &at, static_cast<long>(response_.leaf_certificate().size()));
  ASSERT_NE(leaf, nullptr);
  EXPECT_EQ(X509_check_host(leaf, web.c_str(), web.size(), 0, nullptr), 1);
  X509_free(leaf);
  EXPECT_EQ(response_.intermediate_certificates_size(), 1);
  const auto left = response_.valid_until().seconds() - std::time(nullptr);
  EXPECT_NEAR(static_cast<double>(left), 24 * 3600 + 20, 15);
  EXPECT_EQ(control_.metric("heddle_control_certificates_issued_total"), 1);
}

TEST_F(Identity, RefusesOtherNodesPodsWrongTokensAndBadRequests) {
  Status status = ask(db, "n1:secret-of-n1", good_csr(db));
  EXPECT_EQ(status.code, permission_denied);
  EXPECT_THAT(status.message, HasSubstr("no pod with identity " + db + " is scheduled on node n1"));
  EXPECT_EQ(ask(web, "n1:wrong", good_csr(web)).code, unauthenticated);
  EXPECT_EQ(ask(web, "n2:secret-of-n1", good_csr(web)).code, unauthenticated);
  EXPECT_EQ(ask(web, "", good_csr(web)).code, unauthenticated);
  EXPECT_EQ(ask(web, "n1:secret-of-n1", "garbage").code, invalid_argument);
  EXPECT_EQ(ask(web, "n1:secret-of-n1", good_csr(db)).code, invalid_argument);
  EXPECT_EQ(ask("", "n1:secret-of-n1", good_csr(web)).code, invalid_argument);
  EXPECT_EQ(control_.metric("heddle_control_certificates_refused_total{reason=\"token\"}"), 3);
  EXPECT_EQ(control_.metric("heddle_control_certificates_refused_total{reason=\"bad_request\"}"), 3);
  EXPECT_THAT(control_.log(), Not(HasSubstr("secret-of-n1")));
}

TEST_F(Identity, FollowsPodsThatComeAndGo) {
  EXPECT_EQ(ask(db, "n1:secret-of-n1", good_csr(db)).code, permission_denied);
  control_.put("db.yaml", pod("db-1", "db", "n1"));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  Status status;
  while ((status = ask(db, "n1:secret-of-n1", good_csr(db))).code != ok) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << status.message;
  }
  control_.remove("db.yaml");
  while ((status = ask(db, "n1:secret-of-n1", good_csr(db))).code == ok) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  }
  EXPECT_EQ(status.code, permission_denied);
}

TEST_F(Identity, WaitsAMomentForAPodThatIsNotKnownYet) {
  const std::string late = "late.shop.serviceaccount.identity.heddle.cluster.local";
  std::thread writer([&] {
    // Once the request is on its way; if it is late, the test still holds.
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    control_.put("late.yaml", pod("late-1", "late", "n1"));
  });
  const auto before = std::chrono::steady_clock::now();
  const Status status = ask(late, "n1:secret-of-n1", good_csr(late));
  writer.join();
  EXPECT_EQ(status.code, ok) << status.message;
  EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(10));
  EXPECT_EQ(control_.metric("heddle_control_certificates_refused_total{reason=\"not_scheduled\"}"), 0);
}

TEST_F(Identity, KeepsItsAuthorityThroughKillAndRestart) {
  const std::string anchors = control_.state("trust-anchors.pem");
  const std::string issuer = control_.state("issuer.crt");
  for (int i = 0; i < 3; ++i) {
    control_.kill();
    control_.start();
  }
  EXPECT_EQ(control_.state("trust-anchors.pem"), anchors);
  EXPECT_EQ(control_.state("issuer.crt"), issuer);
  channel_.emplace(control_.identity_address(), anchors);
  const Status status = ask(web, "n1:secret-of-n1", good_csr(web));
  EXPECT_EQ(status.code, ok) << status.message;
}

TEST(OwnLeaf, IsRenewedWithoutARestart) {
  // The first leaf lives 10 s (5 and a skew of 5) and is renewed after 7: new connections must work at 13 s,
  // too.
  ControlProcess control({"--issuance-lifetime=5s", "--clock-skew-allowance=5s"});
  control.put("web.yaml", pod("web-1", "web", "n1"));
  control.put_token("n1", "secret-of-n1");
  control.start();
  const std::string first = control.state("server.crt");
  const auto started = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() < started + std::chrono::seconds(13)) {
    const Channel channel(control.identity_address(), control.state("trust-anchors.pem"));
    identity_api::CertifyRequest request;
    request.set_identity(web);
    request.set_token("n1:secret-of-n1");
    request.set_certificate_signing_request(good_csr(web));
    identity_api::CertifyResponse response;
    const Status status = certify(channel, request, response);
    ASSERT_EQ(status.code, ok) << status.message;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  EXPECT_NE(control.state("server.crt"), first);
}

TEST(CommandLine, ExplainsItself) {
  RunResult run = run_control({"--help"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.output, HasSubstr("--state-dir"));
  EXPECT_THAT(run.output, HasSubstr("HEDDLE_STATE_DIR"));
  run = run_control({"--version"});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.output, HasSubstr("heddle-control "));
  EXPECT_EQ(run_control({"--no-such-flag"}).exit_code, 2);
  EXPECT_EQ(run_control({}).exit_code, 2);
  EXPECT_EQ(run_control({"--source=folder:/x", "--trust-domain=UPPER"}).exit_code, 2);
}

TEST(CommandLine, FailsToStartWithTheReason) {
  const ScratchFolder folder;
  const std::string state = "--state-dir=" + folder.file("state");
  RunResult run = run_control({"--source=folder:/nonexistent", state});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.output, HasSubstr("/nonexistent"));
  run = run_control({"--source=consul:x", state});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.output, HasSubstr("folder:PATH"));
  run = run_control({"--source=folder:" + folder.path(), state, "--identity-issuer-key=/x"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.output, HasSubstr("all three"));
  run = run_control({"--source=folder:" + folder.path(), state, "--admin-address=127.0.0.1:0",
                     "--destination-address=192.0.2.1:1"});
  EXPECT_EQ(run.exit_code, 1);
  EXPECT_THAT(run.output, HasSubstr("cannot listen on 192.0.2.1:1"));
}

}  // namespace
}  // namespace heddle::test
