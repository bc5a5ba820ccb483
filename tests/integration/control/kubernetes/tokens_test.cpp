// SPDX-License-Identifier: Apache-2.0
// The real heddle-control has an API server review the tokens of requests for certificates.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <thread>

#include "client.h"
#include "csr.h"
#include "json_web_token.h"
#include "process.h"
#include "tests/support/eventually.h"
#include "tests/support/scripted_api/scripted_api.h"

namespace heddle::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string web = "web.shop.serviceaccount.identity.heddle.cluster.local";
constexpr const char* reviews = "/tokenreviews";

std::string token(const std::string& whose, const std::string& audience = "identity.heddle.io") {
  return json_web_token(R"({"aud":[")" + audience + R"("],"sub":")" + whose + "\"}");
}
const std::string agents = token("agent");
const std::string pods = token("pod");

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
    return ask_with(pods, agent_token);
  }
  Status ask_with(const std::string& request_token, const std::string& agent_token) {
    identity_api::CertifyRequest request;
    request.set_identity(web);
    request.set_token(request_token);
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
  Status status = ask(agents, {agent_1_, token_of("shop", "web", "web-1")});
  EXPECT_EQ(status.code, ok) << status.message;
  const auto asked = api_.changes(reviews);
  ASSERT_EQ(asked.size(), 2U);
  EXPECT_EQ(asked[0].target, "/apis/authentication.k8s.io/v1/tokenreviews");
  EXPECT_THAT(asked[0].body, HasSubstr(R"("token":")" + agents + R"(","audiences":["identity.heddle.io"])"));
  EXPECT_THAT(asked[1].body, HasSubstr(R"("token":")" + pods + R"(","audiences":["identity.heddle.io"])"));

  // The agent's is known now, the pod's is asked about each time.
  status = ask(agents, {token_of("shop", "web", "web-1")});
  EXPECT_EQ(status.code, ok) << status.message;
  EXPECT_EQ(api_.changes(reviews).size(), 3U);
  EXPECT_EQ(results("accepted"), 3);
  EXPECT_EQ(control_->metric("heddle_control_token_review_duration_seconds_count"), 3);
  EXPECT_THAT(control_->log(), Not(HasSubstr(agents)));
  EXPECT_THAT(control_->log(), Not(HasSubstr(pods)));
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
  const Status status = ask(agents, {agent_1_, token_of("shop", "web", "web-2")});
  EXPECT_EQ(status.code, permission_denied);
  EXPECT_THAT(status.message, HasSubstr("pod shop/web-2 is not on the node of agent heddle/agent-1"));
  EXPECT_EQ(refusals("node"), 1);
  EXPECT_EQ(ask("", {token_of("shop", "web", "web-1")}).code, unauthenticated)
      << "without its own token it could pose as the pod";
  EXPECT_EQ(ask(agents, {agent_1_}).code, permission_denied) << "its own is no pod's";
  EXPECT_EQ(
      ask(token("other pod"), {token_of("shop", "web", "web-2"), token_of("shop", "web", "web-2")}).code,
      permission_denied);
}

TEST_F(ReviewedTokens, ThatAreForgedExpiredOrForOthersAreRefusedAndCounted) {
  start();
  const std::vector<std::pair<std::string, std::string>> errors = {
      {"square/go-jose: error in cryptographic primitive", "invalid"},
      {"Token has expired.", "expired"},
      {R"(token audiences [\"mesh\"] is invalid for the target audiences [\"identity.heddle.io\"])",
       "audience"}};
  ASSERT_EQ(ask(agents, {agent_1_, token_of("shop", "web", "web-1")}).code, ok);
  for (const auto& [error, result] : errors) {
    EXPECT_EQ(ask(agents, {refused(error)}).code, unauthenticated) << error;
    EXPECT_EQ(ask(token("thief"), {refused(error)}).code, unauthenticated) << error;
    EXPECT_EQ(results(result), 2) << error;
  }
  EXPECT_EQ(refusals("token"), 6);
}

TEST_F(ReviewedTokens, ThatCannotBeGoodAreRefusedAndCountedWithoutAReview) {
  start();
  const auto unasked = [&](const std::string& result) {
    return control_->metric("heddle_control_tokens_refused_unasked_total{result=\"" + result + "\"}");
  };
  EXPECT_EQ(ask("an opaque one", {}).code, unauthenticated);
  EXPECT_EQ(ask(token("agent", "https://kubernetes.default.svc"), {}).code, unauthenticated);
  const std::string old = json_web_token(R"({"aud":["identity.heddle.io"],"exp":1700000000})");
  EXPECT_EQ(ask(old, {}).code, unauthenticated);
  EXPECT_EQ(ask_with(old + std::string(16 * 1024, 'A'), "").code, unauthenticated);
  EXPECT_EQ(unasked("invalid"), 2);
  EXPECT_EQ(unasked("audience"), 1);
  EXPECT_EQ(unasked("expired"), 1);
  EXPECT_EQ(refusals("token"), 4);
  EXPECT_EQ(api_.requests(reviews), 0U);
}

TEST_F(ReviewedTokens, OfStrangersDoNotHoldUpAnAgent) {
  start();
  ASSERT_EQ(ask(agents, {agent_1_, token_of("shop", "web", "web-1")}).code, ok);
  ASSERT_EQ(api_.requests(reviews), 2U);
  api_.hold_answers(true);
  std::vector<std::thread> requests;
  std::atomic<int> turned_away{0};
  for (int i = 0; i < 40; ++i) {
    requests.emplace_back([&, i] { turned_away += ask(token(std::to_string(i)), {}).code == unavailable; });
  }
  // The test is one peer.
  EXPECT_TRUE(test::eventually([&] { return turned_away == 24 && api_.requests(reviews) == 2 + 16; }));
  std::thread agent([&] { ask(agents, {}); });
  EXPECT_TRUE(test::eventually([&] { return api_.requests(reviews) == 2 + 16 + 1; }))
      << "its pod's token is reviewed";
  EXPECT_EQ(control_->metric("heddle_control_token_reviews_over_budget_total"), 24);
  api_.hold_answers(false);
  for (std::thread& request : requests) request.join();
  agent.join();
}

TEST_F(ReviewedTokens, OfOneAgentAreReviewedOnceForAllItsRequests) {
  start();
  api_.hold_answers(true);
  std::vector<std::thread> requests;
  std::atomic<int> issued{0};
  api_.answer_next(reviews, agent_1_);
  for (int i = 0; i < 40; ++i) {
    requests.emplace_back([&] { issued += ask_with(agents, "").code == ok; });
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (api_.requests(reviews) == 0 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  api_.hold_answers(false);
  for (std::thread& request : requests) request.join();
  EXPECT_EQ(issued, 40);
  EXPECT_EQ(api_.requests(reviews), 1U);
}

TEST_F(ReviewedTokens, OfAnAgentThatIsGoneAreRefusedThoughTheirReviewIsKept) {
  start();
  ASSERT_EQ(ask(agents, {agent_1_, token_of("shop", "web", "web-1")}).code, ok);
  api_.remove(ScriptedApi::pods, "agent-1");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  Status status;
  while ((status = ask(agents, {token_of("shop", "web", "web-1")})).code == ok) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  }
  EXPECT_EQ(status.code, permission_denied) << status.message;
  EXPECT_THAT(status.message, HasSubstr("heddle/agent-1"));
}

TEST_F(ReviewedTokens, OfPodsAreEnoughWhereTheOperatorSaysSo) {
  start({"--accept-pod-tokens"});
  EXPECT_EQ(ask("", {token_of("shop", "web", "web-2")}).code, ok);
  EXPECT_EQ(ask("", {token_of("shop", "db", "web-2")}).code, permission_denied);
  EXPECT_EQ(ask(agents, {agent_1_, token_of("shop", "web", "web-2")}).code, permission_denied);
}

TEST_F(ReviewedTokens, WaitForAnApiServerThatCannotSayAnything) {
  start();
  EXPECT_EQ(ask(agents, {{"503 Service Unavailable", "", ""}}).code, unavailable);
  EXPECT_EQ(ask(agents, {{"403 Forbidden", "", ""}}).code, unavailable);
  EXPECT_EQ(results("forbidden"), 1);
  api_.stop();
  EXPECT_EQ(ask(agents, {}).code, unavailable);
  EXPECT_EQ(results("unavailable"), 2);
  EXPECT_EQ(refusals("unavailable"), 3);
  api_.start();
  const Status status = ask(agents, {agent_1_, token_of("shop", "web", "web-1")});
  EXPECT_EQ(status.code, ok) << status.message;
  EXPECT_EQ(control_->terminate(), 0);
}

}  // namespace
}  // namespace heddle::test
