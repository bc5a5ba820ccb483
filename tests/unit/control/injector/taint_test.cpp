// SPDX-License-Identifier: Apache-2.0
#include "control/injector/taint.h"

#include <gmock/gmock.h>

#include <boost/json.hpp>

#include "control/source/decode.h"

namespace heddle::test {
namespace {

using namespace control;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
namespace json = boost::json;

source::Pod pod(const std::string& daemon_set, bool ready) {
  source::Pod out;
  out.meta.ns = "heddle";
  out.meta.name = daemon_set + "-x";
  out.meta.owners.push_back({"DaemonSet", daemon_set, true});
  out.node_name = "n1";
  out.ready = ready;
  return out;
}

std::vector<std::string> freed(const std::vector<source::Pod>& pods, bool tainted = true) {
  source::Objects objects;
  source::Node node;
  node.meta.name = "n1";
  node.startup_tainted = tainted;
  objects.nodes.push_back(std::make_shared<source::Node>(node));
  for (const auto& each : pods) objects.pods.push_back(std::make_shared<source::Pod>(each));
  return nodes_to_free(source::Snapshot(std::move(objects), 1), "heddle");
}

TEST(StartupTaint, GoesWhenTheAgentIsReady) {
  EXPECT_THAT(freed({pod("heddle-agent", true)}), ElementsAre("n1"));
  EXPECT_THAT(freed({pod("heddle-agent", false)}), IsEmpty());
  EXPECT_THAT(freed({}), IsEmpty());
  EXPECT_THAT(freed({pod("heddle-agent", true)}, false), IsEmpty());
}

TEST(StartupTaint, WaitsForTheProxyOfANodeThatHasOne) {
  EXPECT_THAT(freed({pod("heddle-agent", true), pod("heddle-proxy", false)}), IsEmpty());
  EXPECT_THAT(freed({pod("heddle-agent", true), pod("heddle-proxy", true)}), ElementsAre("n1"));
}

TEST(StartupTaint, StaysWhateverPodsSayThatAreNotTheAgents) {
  auto elsewhere = pod("heddle-agent", true);
  elsewhere.meta.ns = "shop";
  auto leaving = pod("heddle-agent", true);
  leaving.meta.deleting = true;
  auto ended = pod("heddle-agent", true);
  ended.phase = "Failed";
  auto unowned = pod("heddle-agent", true);
  unowned.meta.owners.clear();
  for (const auto& each : {elsewhere, leaving, ended, unowned}) EXPECT_THAT(freed({each}), IsEmpty());
}

TEST(StartupTaint, IsRemovedWhereItIsAndNowhereElse) {
  const auto patch = untaint_patch(
      R"({"spec":{"taints":[{"key":"a","effect":"NoSchedule"},{"key":"heddle.io/agent-not-ready","effect":"NoSchedule"}]}})");
  ASSERT_TRUE(patch && *patch);
  EXPECT_EQ(json::parse(**patch), json::parse(R"([
      {"op":"test","path":"/spec/taints/1","value":{"key":"heddle.io/agent-not-ready","effect":"NoSchedule"}},
      {"op":"remove","path":"/spec/taints/1"}])"));
}

TEST(StartupTaint, OfTwoEffectsIsRemovedFromTheBack) {
  const auto patch = untaint_patch(
      R"({"spec":{"taints":[{"key":"heddle.io/agent-not-ready","effect":"NoExecute"},{"key":"heddle.io/agent-not-ready","effect":"NoSchedule"}]}})");
  ASSERT_TRUE(patch && *patch);
  const auto operations = json::parse(**patch).as_array();
  ASSERT_EQ(operations.size(), 4U);
  EXPECT_EQ(operations[1].at("path"), "/spec/taints/1");
  EXPECT_EQ(operations[3].at("path"), "/spec/taints/0");
}

TEST(StartupTaint, ThatIsNotThereNeedsNoPatch) {
  for (const char* node : {"{}", R"({"spec":{"taints":[]}})", R"({"spec":{"taints":[{"key":"a"}]}})"}) {
    const auto patch = untaint_patch(node);
    ASSERT_TRUE(patch) << node;
    EXPECT_FALSE(patch->has_value()) << node;
  }
  EXPECT_FALSE(untaint_patch("{"));
}

}  // namespace
}  // namespace heddle::test
