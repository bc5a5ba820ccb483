// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "client.h"
#include "control/certify/authority.h"
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
  ASSERT_EQ(control_.metric("heddle_control_certificates_waiting"), 0);
  bool waited = false;
  std::thread writer([&] {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!waited && std::chrono::steady_clock::now() < deadline)
      waited = control_.metric("heddle_control_certificates_waiting") == 1;
    control_.put("late.yaml", pod("late-1", "late", "n1"));
  });
  const Status status = ask(late, "n1:secret-of-n1", good_csr(late));
  writer.join();
  EXPECT_TRUE(waited) << "the request never was among those that wait";
  EXPECT_EQ(status.code, ok) << status.message;
  // It stops waiting a moment after it was answered.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (control_.metric("heddle_control_certificates_waiting") != 0 &&
         std::chrono::steady_clock::now() < deadline) {
  }
  EXPECT_EQ(control_.metric("heddle_control_certificates_waiting"), 0);
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

// When it is renewed is the store's to decide (tests/unit/control/store_test.cpp); here, that a new leaf is
// taken up.
TEST(OwnLeaf, IsTakenUpWithoutARestartWhenItChanges) {
  const ScratchFolder given;
  const auto put_authority = [&](const std::string& name) {
    const auto root = control::make_root(name).value();
    const auto issuer = control::make_issuer(root, name).value();
    given.put("issuer.crt", issuer.certificate);
    given.put("issuer.key", issuer.key);
    given.put("anchors.pem", root.certificate);
    return root.certificate;
  };
  const std::string old_anchors = put_authority("old");
  ControlProcess control({"--identity-issuer-certificate=" + given.file("issuer.crt"),
                          "--identity-issuer-key=" + given.file("issuer.key"),
                          "--trust-anchors=" + given.file("anchors.pem")});
  control.put("web.yaml", pod("web-1", "web", "n1"));
  control.put_token("n1", "secret-of-n1");
  control.start();
  identity_api::CertifyRequest request;
  request.set_identity(web);
  request.set_token("n1:secret-of-n1");
  request.set_certificate_signing_request(good_csr(web));
  identity_api::CertifyResponse response;
  Status status = certify(Channel(control.identity_address(), old_anchors), request, response);
  ASSERT_EQ(status.code, ok) << status.message;

  const std::string new_anchors = put_authority("new");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  do {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << status.message;
    status = certify(Channel(control.identity_address(), new_anchors), request, response);
  } while (status.code != ok);
  EXPECT_EQ(control.state("trust-anchors.pem"), new_anchors);
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
