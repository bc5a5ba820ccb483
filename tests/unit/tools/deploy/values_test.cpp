// SPDX-License-Identifier: Apache-2.0
#include "tools/deploy/values.h"

#include <gmock/gmock.h>

#include "tools/deploy/chart_files.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using testing::HasSubstr;

// The defaults with assignments on top, and what checking them says ("" for nothing).
std::string complaint(const std::vector<std::string>& assignments) {
  auto values = default_values().value();
  for (const auto& assignment : assignments) {
    if (const auto set = set_value(values, assignment); !set) return set.error().message();
  }
  const auto ok = check_values(values);
  return ok ? "" : ok.error().message();
}

TEST(Values, DefaultsAreValid) {
  EXPECT_EQ(complaint({}), "");
}

TEST(Values, EveryPlatformIsValid) {
  EXPECT_THAT(platform_names(),
              testing::ElementsAre("eks", "gke", "k3s", "kind", "kubeadm", "minikube", "openshift"));
  for (const auto& name : platform_names()) {
    auto values = default_values().value();
    lay_over(values, platform_values(name).value());
    EXPECT_TRUE(check_values(values)) << name;
  }
  EXPECT_THAT(platform_values("nomad").error().message(), HasSubstr("use one of eks, gke"));
}

TEST(Values, NamesWhatIsWrong) {
  EXPECT_THAT(complaint({"control.replica=3"}), HasSubstr("value control.replica: there is no such value"));
  EXPECT_THAT(complaint({"control.replicas=many"}),
              HasSubstr("value control.replicas: must be of type integer"));
  EXPECT_THAT(complaint({"control.replicas=0"}), HasSubstr("0 is less than 1"));
  EXPECT_THAT(complaint({"control.replicas=51"}), HasSubstr("51 is more than 50"));
  EXPECT_THAT(complaint({"logLevel=loud"}), HasSubstr("'loud' is none of trace, debug"));
  EXPECT_THAT(complaint({"cni.binDir=opt/cni"}), HasSubstr("value cni.binDir: 'opt/cni' is not"));
  EXPECT_THAT(complaint({"namespace=Mesh"}), HasSubstr("value namespace"));
  EXPECT_THAT(complaint({"namespace=" + std::string(64, 'a')}), HasSubstr("longer than 63"));
  EXPECT_THAT(complaint({"agent.extraArgs=[1]"}),
              HasSubstr("value agent.extraArgs[]: must be of type string"));
}

TEST(Values, RefusesTextThatWouldBreakOutOfTheManifest) {
  for (const char* path :
       {"namespace", "registry", "image", "clusterDomain", "trustDomain", "controlHost", "tokenAudience",
        "cni.binDir", "cni.confDir", "agent.podsCgroup", "control.issuerSecret"}) {
    auto values = default_values().value();
    set_path(values, path, "/x\"\nkind: Secret");
    EXPECT_FALSE(check_values(values)) << path;
  }
}

TEST(Values, ChecksThatConnectionsAreNotCut) {
  EXPECT_THAT(complaint({"proxy.shutdownGraceSeconds=180"}), HasSubstr("connections are cut"));
  EXPECT_EQ(complaint({"proxy.shutdownGraceSeconds=300", "proxy.terminationGracePeriodSeconds=310"}), "");
  EXPECT_THAT(complaint({"proxy.maxSurge=0"}), HasSubstr("would never replace a proxy"));
}

TEST(Values, AMissingValueIsAnError) {
  auto values = default_values().value();
  lay_over(values, json::object{{"proxy", nullptr}});
  EXPECT_THAT(check_values(values).error().message(), HasSubstr("value proxy: is missing"));
}

TEST(Values, AssignmentsHaveTypes) {
  json::object values;
  ASSERT_TRUE(set_value(values, "a.b=3"));
  ASSERT_TRUE(set_value(values, "a.c=[x, y]"));
  ASSERT_TRUE(set_value(values, "a.d={k: true}"));
  ASSERT_TRUE(set_value(values, "e="));
  ASSERT_TRUE(set_value(values, "f=10.96.0.10"));
  EXPECT_EQ(values, json::parse(R"({"a":{"b":3,"c":["x","y"],"d":{"k":true}},"e":"","f":"10.96.0.10"})"));
  for (const char* bad : {"a", "=1", "a..b=1", ".a=1", "a.=1"}) EXPECT_FALSE(set_value(values, bad)) << bad;
}

TEST(Values, MapsAreLaidOverKeyByKey) {
  auto below = json::parse(R"({"a":{"x":1,"y":2},"list":[1,2],"gone":1})").as_object();
  lay_over(below, json::parse(R"({"a":{"y":3},"list":[4],"gone":null})").as_object());
  EXPECT_EQ(below, json::parse(R"({"a":{"x":1,"y":3},"list":[4]})"));
}

TEST(Values, OldClustersGetWhatTheyServe) {
  EXPECT_TRUE(version_values("1.22").value().empty());
  EXPECT_TRUE(version_values("v1.31.2+k3s1").value().empty());
  const auto old = version_values("v1.20.2").value();
  EXPECT_EQ(old.at("control").at("podDisruptionBudgetVersion").as_string(), "policy/v1beta1");
  EXPECT_EQ(old.at("proxy").at("maxSurge").as_int64(), 0);
  EXPECT_FALSE(version_values("1.21").value().contains("control"));
  auto values = default_values().value();
  lay_over(values, old);
  EXPECT_TRUE(check_values(values));
  for (const char* bad : {"1.19", "2.0", "1.x", "", "1.20x"}) EXPECT_FALSE(version_values(bad)) << bad;
}

}  // namespace
}  // namespace heddle::tools
