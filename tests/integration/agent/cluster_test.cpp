// SPDX-License-Identifier: Apache-2.0
// An agent with --source kubernetes: what it asks the API server, and what it does while that is away.
#include <gmock/gmock.h>

#include "tests/integration/agent/cluster_fixture.h"

namespace heddle::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(ClusterTest, WatchesItsOwnPodsAndNamespacesAndNothingElse) {
  start_agent();
  await_watches();
  for (const auto& target : api_.targets("")) {
    const bool own_pods = target.starts_with("/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1&");
    EXPECT_TRUE(own_pods || target.starts_with("/api/v1/namespaces?")) << target;
  }
}

TEST_F(ClusterTest, AnAddDoesNotWaitForTheWatch) {
  start_agent();
  await_watches();
  api_.hold_watches(true);
  put_pod("shop", "web", "");
  const auto pod = make_pod();
  const auto reply = add_pod(pod, "shop", "web");
  EXPECT_EQ(reply.code(), 0U) << reply.msg();
  EXPECT_TRUE(reply.meshed());
  EXPECT_THAT(state(), HasSubstr("\"robot\"")) << "its ServiceAccount comes from the API server's answer";
}

TEST_F(ClusterTest, AnAddAsksForTheNamespaceToo) {
  start_agent();
  await_watches();
  api_.hold_watches(true);
  put_namespace("new", "enabled");
  put_pod("new", "web", "");
  const auto pod = make_pod();
  const auto reply = add_pod(pod, "new", "web");
  EXPECT_EQ(reply.code(), 0U) << reply.msg();
  EXPECT_TRUE(reply.meshed());
}

TEST_F(ClusterTest, WithTheApiServerAwayOnlyWhatIsCertainlyNotMeshedStarts) {
  start_agent();
  await_watches();
  api_.stop();
  const auto unknown = make_pod();
  auto reply = add_pod(unknown, "shop", "unknown");
  EXPECT_EQ(reply.code(), 11U);
  EXPECT_THAT(reply.msg(), HasSubstr("may be meshed"));
  reply = add_pod(unknown, "shop", "unknown", {{"linkerd.io/inject", "disabled"}});
  EXPECT_EQ(reply.code(), 0U) << reply.msg();
  EXPECT_FALSE(reply.meshed());
  const auto plain = make_pod();
  reply = add_pod(plain, "plain", "quiet", {});
  EXPECT_EQ(reply.code(), 11U) << "the runtime does not tell what the pod's own annotations say";
  reply = add_pod(plain, "plain", "quiet");
  EXPECT_EQ(reply.code(), 0U) << reply.msg();
  EXPECT_FALSE(reply.meshed());
  const auto asking = make_pod();
  reply = add_pod(asking, "plain", "asking", {{"linkerd.io/inject", "enabled"}});
  EXPECT_EQ(reply.code(), 11U);
  reply = add_pod(asking, "kube-system", "dns");
  EXPECT_EQ(reply.code(), 0U) << reply.msg();
}

TEST_F(ClusterTest, APodOfAnotherUidIsNotTakenForIt) {
  start_agent();
  await_watches();
  api_.hold_watches(true);
  api_.put(ScriptedApi::pods, "web",
           R"({"metadata":{"name":"web","namespace":"shop","uid":"another"},"spec":{"nodeName":"node-1"}})");
  const auto pod = make_pod();
  const auto reply = add_pod(pod, "shop", "web");
  EXPECT_EQ(reply.code(), 11U);
  EXPECT_THAT(reply.msg(), HasSubstr("another pod of this name"));
}

TEST_F(ClusterTest, AnnotatingANamespaceEnrolsItsPodsAndTakingItBackReleasesThem) {
  put_pod("plain", "web", "10.99.0.3");
  start_agent();
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  await_watches();
  const auto pod = make_pod();
  ASSERT_EQ(add_pod(pod, "plain", "web").code(), 0U);
  EXPECT_EQ(proxy.pods(), 0U);
  put_namespace("plain", "enabled");
  EXPECT_TRUE(proxy.has_pod("web", long_patience));
  put_namespace("plain", "");
  EXPECT_TRUE(proxy.lost_pod("web", long_patience));
}

TEST_F(ClusterTest, APodThatRanBeforeHeddleIsEnrolledWhereItRuns) {
  const auto pod = make_wired_pod();
  // The names of the kubelet's cgroups, and the pod's process in them.
  cgroup_.child("burstable");
  const std::string cgroup = cgroup_.child("burstable/poduid-old");
  const test::SocketMaker process(cgroup, pod.netns.get());
  put_pod("shop", "old", pod.ip);
  put_pod("shop", "elsewhere", "10.88.200.2");
  start_agent();
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  ASSERT_TRUE(proxy.has_pod("old", long_patience));
  EXPECT_EQ(proxy.pod("old")->service_account(), "robot");
  EXPECT_EQ(proxy.pods(), 1U) << "a pod without a process cannot be enrolled";
  EXPECT_THAT(page("/state"), HasSubstr("\"netns\":\"" + run_ + "/agent/netns/"))
      << "`heddle check` goes there";
  EXPECT_TRUE(test::eventually(
      [this] { return log().find("running pod is not meshed pod=shop/elsewhere") != std::string::npos; },
      long_patience));
  // The runtime's DEL names a sandbox that no ADD was seen of.
  auto asked = request(pod, node::CniRequest::DEL);
  asked.set_pod_namespace("shop");
  asked.set_pod_name("old");
  asked.set_pod_uid("uid-old");
  EXPECT_EQ(call_agent(cni_socket(), asked, pod.netns.get()).code(), 0U);
  EXPECT_TRUE(proxy.lost_pod("old", long_patience));
}

TEST_F(ClusterTest, AProcessWithoutThePodsAddressDoesNotStandForIt) {
  const auto pod = make_wired_pod();
  cgroup_.child("burstable");
  const std::string cgroup = cgroup_.child("burstable/poduid-old");
  const test::SocketMaker process(cgroup, pod.netns.get());
  put_pod("shop", "old", "10.88.201.2");
  start_agent();
  EXPECT_TRUE(test::eventually(
      [this] { return log().find("running pod is not meshed pod=shop/old") != std::string::npos; },
      long_patience));
  EXPECT_THAT(state(), Not(HasSubstr("uid-old")));
}

TEST_F(ClusterTest, PodsFoundRunningStayEnrolledAcrossARestart) {
  const auto pod = make_wired_pod();
  cgroup_.child("burstable");
  const std::string cgroup = cgroup_.child("burstable/poduid-old");
  const test::SocketMaker process(cgroup, pod.netns.get());
  put_pod("shop", "old", pod.ip);
  start_agent();
  ASSERT_TRUE(state_has("uid-old"));
  stop(SIGKILL);
  api_.stop();
  start_agent();
  FakeProxy proxy(proxy_socket());
  EXPECT_TRUE(proxy.has_pod("old", long_patience)) << "also while the API server is away";
}

TEST_F(ClusterTest, EventsTellOfEnrolledReleasedAndMisunderstoodPods) {
  put_pod("plain", "web", "10.99.0.3", R"("config.linkerd.io/skip-outbound-ports":"none")");
  start_agent();
  await_watches();
  const auto pod = make_pod();
  ASSERT_EQ(add_pod(pod, "plain", "web").code(), 0U);
  const auto told = [this](const std::string& reason) {
    const auto events = api_.changes("/namespaces/plain/events");
    return std::count_if(events.begin(), events.end(), [&](const auto& change) {
      return change.method == "POST" &&
             change.body.find("\"reason\":\"" + reason + "\"") != std::string::npos;
    });
  };
  EXPECT_EQ(api_.changes("/events").size(), 0U) << "nobody asked for a mesh yet";
  put_namespace("plain", "enabled");
  EXPECT_TRUE(test::eventually([&] { return told("HeddleEnrolled") == 1; }, long_patience));
  EXPECT_TRUE(test::eventually([&] { return told("HeddleAnnotationIgnored") == 1; }, long_patience));
  put_namespace("plain", "");
  EXPECT_TRUE(test::eventually([&] { return told("HeddleReleased") == 1; }, long_patience));
  // Again: the same Event's count.
  put_namespace("plain", "enabled");
  EXPECT_TRUE(test::eventually(
      [&] {
        const auto events = api_.changes("/namespaces/plain/events/web.");
        return std::any_of(events.begin(), events.end(), [](const auto& change) {
          return change.method == "PATCH" && change.body.find("\"count\":2") != std::string::npos;
        });
      },
      long_patience));
  EXPECT_EQ(told("HeddleEnrolled"), 1);
  const auto first = api_.changes("/namespaces/plain/events").front();
  EXPECT_THAT(first.body, HasSubstr(R"("kind":"Pod","namespace":"plain","name":"web","uid":"uid-web")"));
}

TEST_F(ClusterTest, AnEventThatTheApiServerHasAlreadyIsCountedOn) {
  put_pod("shop", "web", "10.99.0.3");
  api_.answer_next("/namespaces/shop/events", {"409 Conflict", "", "{}"});
  start_agent();
  await_watches();
  const auto pod = make_pod();
  ASSERT_EQ(add_pod(pod, "shop", "web").code(), 0U);
  EXPECT_TRUE(test::eventually(
      [this] {
        const auto events = api_.changes("/namespaces/shop/events");
        return events.size() == 2 && events.back().method == "PATCH";
      },
      long_patience));
}

}  // namespace
}  // namespace heddle::agent
