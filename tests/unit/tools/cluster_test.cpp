// SPDX-License-Identifier: Apache-2.0
#include "tools/cluster/cluster.h"

#include <gtest/gtest.h>

#include "tools/views/filter.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

json::object pods(const std::string& items) {
  return json::parse("{\"items\":[" + items + "]}").as_object();
}

std::string pod(const std::string& name, const std::string& node, const std::string& owner,
                const std::string& phase) {
  return R"({"metadata":{"name":")" + name +
         R"(","namespace":"heddle","ownerReferences":[{"kind":"DaemonSet","name":")" + owner +
         R"("}]},"spec":{"nodeName":")" + node +
         R"(","containers":[{"name":"log"},{"name":"agent"}]},"status":{"phase":")" + phase + "\"}}";
}

TEST(AgentsOf, AreThePodsOfTheDaemonSetByNode) {
  const auto agents =
      agents_of(pods(pod("heddle-agent-b", "n2", "heddle-agent", "Running") + "," +
                     pod("heddle-proxy-a", "n1", "heddle-proxy", "Running") + "," +
                     pod("heddle-agent-a", "n1", "heddle-agent", "Pending") + R"(,{"metadata":{}},7)"));
  ASSERT_EQ(agents.size(), 2U);
  EXPECT_EQ(agents[0].node, "n1");
  EXPECT_EQ(agents[0].trouble, "pod heddle-agent-a is Pending");
  EXPECT_EQ(agents[1].pod.pod, "heddle-agent-b");
  EXPECT_EQ(agents[1].pod.container, "agent");
  EXPECT_EQ(agents[1].trouble, "");
}

TEST(AgentsOf, AskTheOneThatRunsWhileAnotherTakesOver) {
  const auto agents = agents_of(
      pods(pod("old", "n1", "heddle-agent", "Running") + "," + pod("new", "n1", "heddle-agent", "Pending")));
  ASSERT_EQ(agents.size(), 1U);
  EXPECT_EQ(agents[0].pod.pod, "old");
}

TEST(AgentsOf, AreNoneInAnEmptyOrStrangeList) {
  EXPECT_TRUE(agents_of(pods("")).empty());
  EXPECT_TRUE(agents_of(json::object{{"items", 3}}).empty());
}

TEST(Filter, TakesPodsByNamespaceAndByWhatASelectorChose) {
  Filter all;
  EXPECT_TRUE(all.takes("shop", "web"));
  Filter shop{"shop", {}};
  EXPECT_TRUE(shop.takes("shop", "web"));
  EXPECT_FALSE(shop.takes("bank", "web"));
  Filter chosen{"", std::set<std::string>{"shop/web"}};
  EXPECT_TRUE(chosen.takes("shop", "web"));
  EXPECT_FALSE(chosen.takes("bank", "web"));
  EXPECT_FALSE(chosen.takes("shop", "api"));
}

}  // namespace
}  // namespace heddle::tools
