// SPDX-License-Identifier: Apache-2.0
// An agent with --source kubernetes and an API server that misbehaves: what holds in the end, and what the
// runtime is answered meanwhile.
#include <gmock/gmock.h>
#include <signal.h>

#include "tests/integration/agent/fixture.h"
#include "tests/support/api_server_process.h"

namespace heddle::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::chrono::milliseconds long_patience{40'000};
constexpr const char* watches_end = R"({"verb":"watch","do":"end","milliseconds":[1,200]})";

class AgentThroughFaults : public AgentTest {
 protected:
  AgentThroughFaults() {
    ::signal(SIGPIPE, SIG_IGN);
    put_namespace("enabled");
  }

  void put_namespace(const std::string& inject) {
    api_.put("namespaces",
             R"({"metadata":{"name":"shop","annotations":{"linkerd.io/inject":")" + inject + R"("}}})");
  }

  void put_pod(const std::string& name, const std::string& ip, const std::string& node = "node-1") {
    api_.put("pods", R"({"metadata":{"name":")" + name + R"(","namespace":"shop","uid":"uid-)" + name +
                         R"("},"spec":{"nodeName":")" + node +
                         R"(","serviceAccountName":"robot"},"status":{"phase":"Running","podIP":")" + ip +
                         R"("}})");
  }

  void start_agent() {
    start({"--source", "kubernetes", "--kubeconfig", api_.kubeconfig()});
    ASSERT_TRUE(state_of_api_has(R"("resource":"pods")"));
    ASSERT_TRUE(state_of_api_has(R"("resource":"namespaces")"));
  }

  bool state_of_api_has(const std::string& part) {
    return test::eventually([&] { return api_.order("state").find(part) != std::string::npos; },
                            long_patience);
  }

  node::CniReply add_pod(const TestPod& pod, const std::string& name) {
    auto asked = request(pod, node::CniRequest::ADD);
    asked.set_pod_namespace("shop");
    asked.set_pod_name(name);
    asked.set_pod_uid("uid-" + name);
    (*asked.mutable_pod_annotations())["kubernetes.io/config.seen"] = "x";
    return call_agent(cni_socket(), asked, pod.netns.get());
  }

  test::ApiServerProcess api_;
};

TEST_F(AgentThroughFaults, EnrolsAndReleasesAsTheNamespaceSaysWhileWatchesEndAtRandomAndAreRefused) {
  put_pod("web", "10.99.0.3");
  start_agent();
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  const auto pod = make_pod();
  ASSERT_EQ(add_pod(pod, "web").code(), 0U);
  ASSERT_TRUE(proxy.has_pod("web"));
  api_.faults(
      std::string(watches_end) +
      R"(,{"verb":"watch","chance":0.1,"do":"answer","code":429,"retryAfter":1})"
      R"(,{"verb":"watch","chance":0.1,"do":"answer","code":503},{"verb":"watch","chance":0.1,"do":"drop"})"
      R"(,{"verb":"watch","chance":0.1,"do":"gone"},{"chance":0.1,"do":"cut","bytes":100})");
  api_.order("end-watches");
  for (int round = 0; round < 4; ++round) {
    put_namespace("disabled");
    ASSERT_TRUE(proxy.lost_pod("web", long_patience)) << round;
    api_.order("compact");
    put_namespace("enabled");
    ASSERT_TRUE(proxy.has_pod("web", long_patience)) << round;
  }
  // What it asks is right, what it writes (Events on the pod) is understood; refusals are the faults'.
  EXPECT_TRUE(test::eventually(
      [this] { return api_.order("requests").find("/api/v1/namespaces/shop/events") != std::string::npos; },
      long_patience));
  for (const char* code : {"400", "403", "405", "415", "422"}) {
    EXPECT_THAT(api_.order("requests"), Not(HasSubstr(std::string("\"code\":") + code)));
  }
}

TEST_F(AgentThroughFaults, WhatChangedWhileTheServerWasAwayIsKnownWhenItIsBackWithoutItsHistory) {
  put_pod("web", "10.99.0.3");
  start_agent();
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  const auto pod = make_pod();
  ASSERT_EQ(add_pod(pod, "web").code(), 0U);
  ASSERT_TRUE(proxy.has_pod("web"));
  api_.order("listen", R"({"accept":false})");
  put_namespace("disabled");
  api_.order("compact");
  ASSERT_EQ(proxy.pods(), 1U) << "what is known stays in use";
  api_.order("listen", R"({"accept":true})");
  EXPECT_TRUE(proxy.lost_pod("web", long_patience));
}

TEST_F(AgentThroughFaults, AnAddIsToBeRetriedWhileTheServerRefusesOrStallsAndSucceedsAfterwards) {
  start_agent();
  const std::string silent = R"({"verb":"watch","do":"silence"})";
  api_.faults(silent);
  api_.order("end-watches");
  ASSERT_TRUE(state_of_api_has(R"("applied":2)")) << "both watches were begun anew";
  put_pod("web", "10.99.0.3");
  const auto pod = make_pod();
  for (const std::string fault :
       {R"("do":"answer","code":429,"retryAfter":30)", R"("do":"answer","code":503)", R"("do":"stall")",
        R"("do":"drop")", R"("do":"cut","bytes":20)"}) {
    api_.faults(silent + R"(,{"verb":"get","resource":"pods",)" + fault + "}");
    const auto begin = std::chrono::steady_clock::now();
    const auto reply = add_pod(pod, "web");
    EXPECT_EQ(reply.code(), 11U) << fault << ": " << reply.msg();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(15)) << fault;
  }
  api_.faults(silent);
  const auto reply = add_pod(pod, "web");
  EXPECT_EQ(reply.code(), 0U) << reply.msg();
  EXPECT_TRUE(reply.meshed());
  EXPECT_THAT(state(), HasSubstr("\"robot\""));
}

TEST_F(AgentThroughFaults, PodsOfOtherNodesAreNeverAskedForAlsoWhenItListsAnew) {
  put_pod("here", "10.99.0.3");
  put_pod("there", "10.99.1.3", "node-2");
  start_agent();
  api_.faults(R"({"verb":"watch","do":"gone","times":2})");
  api_.order("end-watches");
  ASSERT_TRUE(state_of_api_has(R"("applied":2)"));
  ASSERT_TRUE(test::eventually(
      [&] {
        const std::string asked = api_.order("requests");
        const auto first = asked.find("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1&limit=");
        return asked.find("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1&limit=", first + 1) !=
               std::string::npos;
      },
      long_patience))
      << "it lists anew";
  EXPECT_THAT(api_.order("requests"), Not(HasSubstr("/api/v1/pods?limit")));
  EXPECT_THAT(api_.order("requests"), Not(HasSubstr("/api/v1/pods?watch")));
}

}  // namespace
}  // namespace heddle::agent
