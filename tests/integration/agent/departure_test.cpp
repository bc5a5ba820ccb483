// SPDX-License-Identifier: Apache-2.0
// An agent that is told to end asks the API server whether it is replaced.
#include <signal.h>

#include <algorithm>

#include "base/io/file.h"
#include "fixture.h"
#include "tests/support/scripted_api/scripted_api.h"

namespace heddle::agent {
namespace {

constexpr const char* asked = "/apis/apps/v1/namespaces/heddle/daemonsets/heddle-agent";
constexpr const char* daemonsets = "/apis/apps/v1/namespaces/heddle/daemonsets";
constexpr const char* gone =
    R"({"kind":"Status","reason":"NotFound","details":{"name":"heddle-agent","group":"apps","kind":"daemonsets"}})";

std::string daemonset(const std::string& uid, const std::string& more = "") {
  return R"({"kind":"DaemonSet","metadata":{"name":"heddle-agent","uid":")" + uid + "\"" + more + "}}";
}

class Departing : public AgentTest {
 protected:
  Departing() {
    ::signal(SIGPIPE, SIG_IGN);  // of the API server here, whose clients go
    const std::string config = run_ + "/kubeconfig";
    write_file_atomically(run_ + "/ca.crt", authority_.root_pem(), 0644).value();
    write_file_atomically(
        config,
        "{current-context: c, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:" +
            std::to_string(api_.port()) +
            "', tls-server-name: kubernetes, certificate-authority: ca.crt}}], users: [{name: u, user: {}}], "
            "contexts: [{name: c, context: {cluster: c, user: u}}]}",
        0644)
        .value();
  }

  void start_seen(const std::string& uid) {
    api_.answer_next(asked, {"200 OK", "", daemonset(uid)});
    start({"--source", "kubernetes", "--kubeconfig", run_ + "/kubeconfig", "--daemonset", "heddle-agent"});
    ASSERT_TRUE(test::eventually([&] { return log().find("own DaemonSet seen") != std::string::npos; }))
        << log();
  }
  std::string word() const {
    const auto text = read_file(run_ + "/agent/departure");
    return text ? *text : std::string();
  }
  // It stays, and answers for the pod, until a proxy has come.
  void replace_agent_while_no_proxy_serves(const TestPod& pod) {
    api_.answer_next(asked, {"200 OK", "", daemonset("u-1")});
    ::kill(pid_, SIGTERM);
    ASSERT_TRUE(test::eventually([&] { return log().find("staying until a proxy") != std::string::npos; }))
        << log();
    EXPECT_EQ(check(pod).code(), 0u);
    FakeProxy proxy(proxy_socket());
    EXPECT_TRUE(proxy.serves());
    wait_for_exit();
  }
  bool redirected(const TestPod& pod) {
    start();
    return check(pod).code() == 0;
  }

  test::Authority authority_;
  test::ScriptedApi api_{authority_};
};

TEST_F(Departing, ReleasesEveryPodAndSaysSoWhenItsDaemonSetIsGone) {
  start_seen("u-1");
  const TestPod pod = make_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  ASSERT_EQ(check(pod).code(), 0u);
  api_.answer_next(asked, {"404 Not Found", "", gone});
  stop(SIGTERM);
  EXPECT_EQ(word(), "uninstalled\n") << log();
  EXPECT_NE(log().find("uninstalled run_dir="), std::string::npos) << log();
  EXPECT_FALSE(read_file(run_ + "/agent/pods.json"));
  EXPECT_FALSE(read_file(run_ + "/agent/cni-policy.json"));
  EXPECT_FALSE(redirected(pod));
  EXPECT_EQ(word(), "") << "a new agent has not said anything yet";
}

TEST_F(Departing, LeavesEverythingInPlaceWhenItIsReplaced) {
  start_seen("u-1");
  auto proxy = std::make_unique<FakeProxy>(proxy_socket());
  ASSERT_TRUE(proxy->serves());
  const TestPod pod = make_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  api_.answer_next(asked, {"200 OK", "", daemonset("u-1")});
  stop(SIGTERM);
  proxy.reset();
  EXPECT_EQ(word(), "replaced\n") << log();
  EXPECT_TRUE(redirected(pod));
}

TEST_F(Departing, ReleasesEveryPodWhenItsRightsWereDeletedWithItsDaemonSet) {
  api_.put(daemonsets, "heddle-agent", R"({"metadata":{"name":"heddle-agent","uid":"u-1"}})");
  start_seen("u-1");
  const TestPod pod = make_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  ASSERT_TRUE(test::eventually([&] { return api_.open_watches(daemonsets) == 1; })) << log();
  api_.remove(daemonsets, "heddle-agent");
  ASSERT_TRUE(test::eventually([&] { return log().find("own DaemonSet is deleted") != std::string::npos; }))
      << log();
  api_.answer_next(asked, {"403 Forbidden", "", R"({"kind":"Status","message":"daemonsets is forbidden"})"});
  stop(SIGTERM);
  EXPECT_EQ(word(), "uninstalled\n") << log();
  EXPECT_FALSE(redirected(pod));
}

// The proxy is replaced at the same time: without either, connections would be refused.
TEST_F(Departing, StaysUntilAProxyHasTheListenersWhenItIsReplaced) {
  start_seen("u-1");
  const TestPod pod = make_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  replace_agent_while_no_proxy_serves(pod);
  EXPECT_EQ(word(), "replaced\n") << log();
}

// Each would trust in the other, and both be gone a moment later.
TEST_F(Departing, StaysForTheListenersOfAProxyThatIsAboutToEnd) {
  start_seen("u-1");
  FakeProxy old(proxy_socket());
  ASSERT_TRUE(old.serves());
  const TestPod pod = make_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  node::FromProxy drained;
  drained.mutable_drained();
  old.send(drained);
  ASSERT_TRUE(test::eventually([&] {
    const auto messages = old.messages();
    return std::any_of(messages.begin(), messages.end(), [](const auto& each) { return each.has_holding(); });
  })) << "the proxy may only end when it is told that the agent stays";
  replace_agent_while_no_proxy_serves(pod);
}

TEST_F(Departing, LeavesEverythingInPlaceWhenTheApiServerIsAway) {
  start_seen("u-1");
  auto proxy = std::make_unique<FakeProxy>(proxy_socket());
  ASSERT_TRUE(proxy->serves());
  const TestPod pod = make_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  api_.stop();
  stop(SIGTERM);
  proxy.reset();
  EXPECT_EQ(word(), "replaced\n") << log();
  EXPECT_TRUE(redirected(pod));
}

}  // namespace
}  // namespace heddle::agent
