// SPDX-License-Identifier: Apache-2.0
// The real heddle-control has an API server review the tokens of requests for certificates.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "client.h"
#include "csr.h"
#include "process.h"
#include "tests/support/scripted_api/scripted_api.h"

namespace heddle::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string web = "web.shop.serviceaccount.identity.heddle.cluster.local";
constexpr const char* reviews = "/tokenreviews";

std::string pod(const std::string& ns, const std::string& name, const std::string& account,
                const std::string& node) {
  return R"({"metadata":{"name":")" + name + R"(","namespace":")" + ns + R"(","uid":"uid-of-)" + name +
         R"("},"spec":{"nodeName":")" + node + R"(","serviceAccountName":")" + account + R"("}})";
}

ScriptedApi::Canned review(const std::string& status) {
  return {"201 Created", "",
          R"({"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":)" + status + "}"};
}

ScriptedApi::Canned token_of(const std::string& ns, const std::string& account, const std::string& pod) {
  return review(R"({"authenticated":true,"user":{"username":"system:serviceaccount:)" + ns + ":" + account +
                R"(","extra":{"authentication.kubernetes.io/pod-name":[")" + pod +
                R"("],"authentication.kubernetes.io/pod-uid":["uid-of-)" + pod +
                R"("]}},"audiences":["identity.heddle.io"]})");
}

ScriptedApi::Canned refused(const std::string& error) {
  return review(R"({"user":{},"error":"[invalid bearer token, )" + error + R"(]"})");
}

class ReviewedTokens : public ::testing::Test {
 protected:
  ReviewedTokens() {
    ::signal(SIGPIPE, SIG_IGN);
    folder_.put("ca.crt", authority_.root_pem());
    folder_.put(
        "config",
        "{current-context: c, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:" +
            std::to_string(api_.port()) +
            "', tls-server-name: kubernetes, certificate-authority: ca.crt}}], users: [{name: u, user: "
            "{token: secret}}], contexts: [{name: c, context: {cluster: c, user: u}}]}");
    api_.require_token("secret");
    api_.put(ScriptedApi::pods, "web-1", pod("shop", "web-1", "web", "n1"));
    api_.put(ScriptedApi::pods, "web-2", pod("shop", "web-2", "web", "n2"));
    api_.put(ScriptedApi::pods, "agent-1", pod("heddle", "agent-1", "heddle-agent", "n1"));
  }
  void start(const std::vector<std::string>& more = {}) {
    std::vector<std::string> flags = {"--source=kubernetes", "--kubeconfig=" + folder_.file("config")};
    flags.insert(flags.end(), more.begin(), more.end());
    control_.emplace(flags);
    control_->start();
    channel_.emplace(control_->identity_address(), control_->state("trust-anchors.pem"));
  }
  // The answers to the reviews that it asks for, in order.
  Status ask(const std::string& agent_token, const std::vector<ScriptedApi::Canned>& answers) {
    for (const auto& answer : answers) api_.answer_next(reviews, answer);
    identity_api::CertifyRequest request;
    request.set_identity(web);
    request.set_token("the.pods.token");
    request.set_certificate_signing_request(good_csr(web));
    identity_api::CertifyResponse response;
    return certify(*channel_, request, response, agent_token);
  }
  double refusals(const std::string& reason) const {
    return control_->metric("heddle_control_certificates_refused_total{reason=\"" + reason + "\"}");
  }
  double results(const std::string& result) const {
    return control_->metric("heddle_control_token_reviews_total{result=\"" + result + "\"}");
  }

  const ScriptedApi::Canned agent_1_ = token_of("heddle", "heddle-agent", "agent-1");
  Authority authority_;
  ScriptedApi api_{authority_};
  ScratchFolder folder_;
  std::optional<ControlProcess> control_;
  std::optional<Channel> channel_;
};

TEST_F(ReviewedTokens, GiveAnAgentTheIdentityOfAPodOnItsNode) {
  start();
  Status status = ask("the.agents.token", {agent_1_, token_of("shop", "web", "web-1")});
  EXPECT_EQ(status.code, ok) << status.message;
  const auto asked = api_.changes(reviews);
  ASSERT_EQ(asked.size(), 2U);
  EXPECT_EQ(asked[0].target, "/apis/authentication.k8s.io/v1/tokenreviews");
  EXPECT_THAT(asked[0].body, HasSubstr(R"("token":"the.agents.token","audiences":["identity.heddle.io"])"));
  EXPECT_THAT(asked[1].body, HasSubstr(R"("token":"the.pods.token","audiences":["identity.heddle.io"])"));

  // The agent's is known now, the pod's is asked about each time.
  status = ask("the.agents.token", {token_of("shop", "web", "web-1")});
  EXPECT_EQ(status.code, ok) << status.message;
  EXPECT_EQ(api_.changes(reviews).size(), 3U);
  EXPECT_EQ(results("accepted"), 3);
  EXPECT_EQ(control_->metric("heddle_control_token_review_duration_seconds_count"), 3);
  EXPECT_THAT(control_->log(), Not(HasSubstr("s.token")));
}

TEST_F(ReviewedTokens, OfAnAgentAloneGiveItTheIdentitiesOfItsNode) {
  start();
  Status status = ask("", {agent_1_});
  EXPECT_EQ(status.code, ok) << status.message;
  status = ask("", {});
  EXPECT_EQ(status.code, ok) << status.message << ", which is known now";
  EXPECT_EQ(api_.changes(reviews).size(), 1U);
}

TEST_F(ReviewedTokens, OfAPodElsewhereAreNoUseToAnAgent) {
  start();
  const Status status = ask("the.agents.token", {agent_1_, token_of("shop", "web", "web-2")});
  EXPECT_EQ(status.code, permission_denied);
  EXPECT_THAT(status.message, HasSubstr("pod shop/web-2 is not on the node of agent heddle/agent-1"));
  EXPECT_EQ(refusals("node"), 1);
  EXPECT_EQ(ask("", {token_of("shop", "web", "web-1")}).code, unauthenticated)
      << "without its own token it could pose as the pod";
  EXPECT_EQ(ask("the.agents.token", {agent_1_}).code, permission_denied) << "its own is no pod's";
  EXPECT_EQ(
      ask("other.pods.token", {token_of("shop", "web", "web-2"), token_of("shop", "web", "web-2")}).code,
      permission_denied);
}

TEST_F(ReviewedTokens, ThatAreForgedExpiredOrForOthersAreRefusedAndCounted) {
  start();
  const std::vector<std::pair<std::string, std::string>> errors = {
      {"square/go-jose: error in cryptographic primitive", "invalid"},
      {"Token has expired.", "expired"},
      {R"(token audiences [\"mesh\"] is invalid for the target audiences [\"identity.heddle.io\"])",
       "audience"}};
  ASSERT_EQ(ask("the.agents.token", {agent_1_, token_of("shop", "web", "web-1")}).code, ok);
  for (const auto& [error, result] : errors) {
    EXPECT_EQ(ask("the.agents.token", {refused(error)}).code, unauthenticated) << error;
    EXPECT_EQ(ask("stolen.agents.token", {refused(error)}).code, unauthenticated) << error;
    EXPECT_EQ(results(result), 2) << error;
  }
  EXPECT_EQ(refusals("token"), 6);
}

TEST_F(ReviewedTokens, OfAnAgentThatIsGoneAreRefusedThoughTheirReviewIsKept) {
  start();
  ASSERT_EQ(ask("the.agents.token", {agent_1_, token_of("shop", "web", "web-1")}).code, ok);
  api_.remove(ScriptedApi::pods, "agent-1");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  Status status;
  while ((status = ask("the.agents.token", {token_of("shop", "web", "web-1")})).code == ok) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  }
  EXPECT_EQ(status.code, permission_denied) << status.message;
  EXPECT_THAT(status.message, HasSubstr("heddle/agent-1"));
}

TEST_F(ReviewedTokens, OfPodsAreEnoughWhereTheOperatorSaysSo) {
  start({"--accept-pod-tokens"});
  EXPECT_EQ(ask("", {token_of("shop", "web", "web-2")}).code, ok);
  EXPECT_EQ(ask("", {token_of("shop", "db", "web-2")}).code, permission_denied);
  EXPECT_EQ(ask("the.agents.token", {agent_1_, token_of("shop", "web", "web-2")}).code, permission_denied);
}

TEST_F(ReviewedTokens, WaitForAnApiServerThatCannotSayAnything) {
  start();
  EXPECT_EQ(ask("the.agents.token", {{"503 Service Unavailable", "", ""}}).code, unavailable);
  EXPECT_EQ(ask("the.agents.token", {{"403 Forbidden", "", ""}}).code, unavailable);
  EXPECT_EQ(results("forbidden"), 1);
  api_.stop();
  EXPECT_EQ(ask("the.agents.token", {}).code, unavailable);
  EXPECT_EQ(results("unavailable"), 2);
  EXPECT_EQ(refusals("unavailable"), 3);
  api_.start();
  const Status status = ask("the.agents.token", {agent_1_, token_of("shop", "web", "web-1")});
  EXPECT_EQ(status.code, ok) << status.message;
  EXPECT_EQ(control_->terminate(), 0);
}

}  // namespace
}  // namespace heddle::test
