// SPDX-License-Identifier: Apache-2.0
#include "tools/deploy/remove.h"

#include <gmock/gmock.h>

#include <map>

namespace heddle::tools {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// An API server whose objects go after so many looks at them.
class Objects final : public RemovalDoor {
 public:
  Result<bool> remove(const std::string& path) override {
    log.push_back("delete " + path);
    if (path == forbidden) return make_error(Errc::permission_denied, "not yours");
    return left.contains(path);
  }
  Result<bool> exists(const std::string& path) override {
    if (!log.empty() && log.back() != "look") log.emplace_back("look");
    if (outages-- > 0) return make_error(Errc::unavailable, "away");
    const auto found = left.find(path);
    if (found == left.end()) return false;
    if (found->second == 0)
      left.erase(found);
    else
      --found->second;
    return true;
  }
  bool pause() override { return pauses-- > 0; }

  std::map<std::string, int> left;
  std::string forbidden;
  int outages = 0;
  int pauses = 100;
  std::vector<std::string> log;
};

RemovalPlan plan() {
  return {{{"DaemonSet", "agent", "h", "/agent"}, {"DaemonSet", "proxy", "h", "/proxy"}},
          {{"ClusterRole", "role", "", "/role"}, {"Namespace", "h", "", "/ns"}}};
}

Result<> run(Objects& objects) {
  return remove_installation(objects, plan(), [](const std::string&) {});
}

TEST(RemoveInstallation, DeletesTheRestOnlyWhenTheNodesPartIsGone) {
  Objects objects;
  objects.left = {{"/agent", 3}, {"/proxy", 0}, {"/role", 0}, {"/ns", 2}};
  EXPECT_TRUE(run(objects));
  EXPECT_TRUE(objects.left.empty());
  EXPECT_THAT(objects.log,
              ElementsAre("delete /agent", "delete /proxy", "look", "delete /role", "delete /ns", "look"));
}

TEST(RemoveInstallation, GoesOnWhereItWasLeft) {
  Objects objects;
  objects.left = {{"/ns", 0}};
  EXPECT_TRUE(run(objects));
  EXPECT_THAT(objects.log,
              ElementsAre("delete /agent", "delete /proxy", "delete /role", "delete /ns", "look"));
}

TEST(RemoveInstallation, LeavesTheRestWhenANodeDoesNotAnswer) {
  Objects objects;
  objects.left = {{"/agent", 1000}, {"/ns", 0}};
  const auto done = run(objects);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, make_error_code(Errc::timeout));
  EXPECT_THAT(done.error().message(), HasSubstr("DaemonSet h/agent"));
  EXPECT_TRUE(objects.left.contains("/ns"));
}

TEST(RemoveInstallation, LeavesTheRestWhenAgentsMayNotBeDeleted) {
  Objects objects;
  objects.left = {{"/agent", 0}, {"/ns", 0}};
  objects.forbidden = "/agent";
  const auto done = run(objects);
  ASSERT_FALSE(done);
  EXPECT_THAT(done.error().message(), HasSubstr("not yours"));
  EXPECT_THAT(objects.log, ElementsAre("delete /agent", "delete /proxy"));
}

TEST(RemoveInstallation, TriesEveryObjectOfTheRest) {
  Objects objects;
  objects.left = {{"/role", 0}, {"/ns", 0}};
  objects.forbidden = "/role";
  EXPECT_FALSE(run(objects));
  EXPECT_EQ(objects.log.back(), "delete /ns");
}

TEST(RemoveInstallation, AsksAgainWhileTheApiServerIsAway) {
  Objects objects;
  objects.left = {{"/agent", 0}, {"/ns", 0}};
  objects.outages = 3;
  EXPECT_TRUE(run(objects));
  EXPECT_TRUE(objects.left.empty());
}

TEST(ObjectPath, IsThatOfTheApiServer) {
  EXPECT_EQ(object_path("v1", "Namespace", "", "heddle"), "/api/v1/namespaces/heddle");
  EXPECT_EQ(object_path("apps/v1", "DaemonSet", "heddle", "heddle-agent"),
            "/apis/apps/v1/namespaces/heddle/daemonsets/heddle-agent");
  EXPECT_EQ(object_path("networking.k8s.io/v1", "NetworkPolicy", "heddle", "x"),
            "/apis/networking.k8s.io/v1/namespaces/heddle/networkpolicies/x");
  EXPECT_EQ(object_path("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", "x"),
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/x");
}

}  // namespace
}  // namespace heddle::tools
