// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/plan.h"

#include <gmock/gmock.h>

#include "tools/lab/plan_pod.h"
#include "tools/lab/yaml.h"
#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Result<LabPlan> plan_of(const std::string& yaml) {
  auto objects = parse_objects(yaml, "test.yaml");
  if (!objects) return objects.error();
  return make_plan(*objects);
}

std::string error_of(const std::string& yaml) {
  const auto plan = plan_of(yaml);
  return plan ? "no error" : plan.error().message();
}

const std::string web = R"(
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: server
          command: [server, --port, "8080"]
          ports: [{name: http, containerPort: 8080}]
          readinessProbe: {httpGet: {path: /healthz, port: http}, periodSeconds: 3}
)";

const std::string two_nodes = R"(
apiVersion: v1
kind: Node
metadata: {name: a}
---
apiVersion: v1
kind: Node
metadata: {name: b}
---
)";

TEST(LabPlan, GivesNodesAddressesInOrderOfAppearance) {
  const auto plan = plan_of(two_nodes);
  ASSERT_TRUE(plan) << plan.error().message();
  ASSERT_EQ(plan->nodes.size(), 2u);
  EXPECT_EQ(plan->nodes[0].ip4.to_string(), "172.30.0.11");
  EXPECT_EQ(plan->nodes[1].ip4.to_string(), "172.30.0.12");
  EXPECT_EQ(plan->nodes[1].pods4, "10.244.2.0/24");
  EXPECT_EQ(plan->nodes[1].pods6, "fd00:10:244:2::/64");
}

TEST(LabPlan, MakesOneNodeWhereNoneIsGiven) {
  const auto plan = plan_of(web);
  ASSERT_TRUE(plan) << plan.error().message();
  ASSERT_EQ(plan->nodes.size(), 1u);
  EXPECT_EQ(plan->pods[0].node, "node-1");
}

TEST(LabPlan, SpreadsReplicasOverNodesUnderNamesThatStayTheSame) {
  const auto plan = plan_of(two_nodes + web);
  const auto again = plan_of(two_nodes + web);
  ASSERT_TRUE(plan) << plan.error().message();
  ASSERT_EQ(plan->pods.size(), 3u);
  EXPECT_EQ(plan->pods[0].node, "a");
  EXPECT_EQ(plan->pods[1].node, "b");
  EXPECT_EQ(plan->pods[2].node, "a");
  EXPECT_NE(plan->pods[0].name, plan->pods[1].name);
  EXPECT_EQ(plan->pods[0].name, again->pods[0].name);
  EXPECT_EQ(plan->pods[0].uid, again->pods[0].uid);
  EXPECT_TRUE(plan->pods[0].labels.contains("pod-template-hash"));
}

TEST(LabPlan, ReadsAProbesPortByTheNameOfAContainersPort) {
  const auto plan = plan_of(web);
  ASSERT_TRUE(plan) << plan.error().message();
  const auto& probe = plan->pods[0].containers[0].readiness;
  EXPECT_EQ(probe.kind, LabProbe::Kind::http);
  EXPECT_EQ(probe.port, 8080);
  EXPECT_EQ(probe.path, "/healthz");
  EXPECT_EQ(probe.period_s, 3u);
}

TEST(LabPlan, ExpandsVariablesAsKubernetesDoes) {
  const auto plan = plan_of(R"yaml(
kind: Pod
metadata: {name: p}
spec:
  containers:
    - name: c
      command: [run, "$(WHO)", "$$(WHO)", "$(UNKNOWN)"]
      env:
        - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: WHO, value: "pod $(NAME)"}
)yaml");
  ASSERT_TRUE(plan) << plan.error().message();
  EXPECT_THAT(plan->pods[0].containers[0].argv, ElementsAre("run", "pod p", "$(WHO)", "$(UNKNOWN)"));
}

TEST(LabPlan, GivesServicesClusterAddressesAndKeepsGivenOnes) {
  const auto plan = plan_of(R"(
kind: Service
metadata: {name: one}
spec: {ports: [{port: 80}], ipFamilies: [IPv4, IPv6]}
---
kind: Service
metadata: {name: two}
spec: {clusterIP: 10.96.7.7, ports: [{port: 80, targetPort: http}]}
---
kind: Service
metadata: {name: three}
spec: {clusterIP: None, ports: [{port: 80}]}
)");
  ASSERT_TRUE(plan) << plan.error().message();
  EXPECT_THAT(plan->services[0].cluster_ips, ElementsAre("10.96.0.11", "fd00:10:96::a"));
  EXPECT_THAT(plan->services[1].cluster_ips, ElementsAre("10.96.7.7"));
  EXPECT_EQ(plan->services[1].ports[0].target_name, "http");
  EXPECT_TRUE(plan->services[2].cluster_ips.empty());
}

TEST(LabPlan, GivesNoServiceAnAddressThatAnotherAsksFor) {
  const auto plan = plan_of(R"(
kind: Service
metadata: {name: one}
spec: {ports: [{port: 80}]}
---
kind: Service
metadata: {name: two}
spec: {clusterIP: 10.96.0.11, ports: [{port: 80}]}
---
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: example.com}
)");
  ASSERT_TRUE(plan) << plan.error().message();
  EXPECT_THAT(plan->services[0].cluster_ips, ElementsAre("10.96.0.12"));
  EXPECT_THAT(plan->services[1].cluster_ips, ElementsAre("10.96.0.11"));
  EXPECT_TRUE(plan->services[2].cluster_ips.empty());
  EXPECT_THAT(error_of("kind: Service\nmetadata: {name: s}\nspec: {ipFamilies: [X], ports: [{port: 80}]}"),
              HasSubstr("neither IPv4 nor IPv6"));
}

TEST(LabPlan, NamesTheObjectAndTheRemedyInErrors) {
  EXPECT_THAT(
      error_of("kind: Pod\nmetadata: {name: p}\nspec: {nodeName: x, containers: [{name: c, command: [a]}]}"),
      HasSubstr("Pod p: spec.nodeName x is no Node of this lab"));
  EXPECT_THAT(error_of("kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: nginx}]}"),
              HasSubstr("`command` is missing"));
  EXPECT_THAT(error_of("kind: Pod\nmetadata: {name: p}\nspec: {}"), HasSubstr("spec.containers is empty"));
  EXPECT_THAT(error_of("kind: Pod\nmetadata: {name: \"../../x\"}\nspec: {}"), HasSubstr("lower-case"));
  EXPECT_THAT(error_of("kind: Node\nmetadata: {name: a}\n---\nkind: Node\nmetadata: {name: a}"),
              HasSubstr("twice"));
  EXPECT_THAT(error_of("kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, command: [a], "
                       "readinessProbe: {tcpSocket: {port: nope}}}]}"),
              HasSubstr("probe's port"));
}

TEST(LabPlan, ListsKindsItDoesNothingWith) {
  const auto plan = plan_of("kind: Ingress\nmetadata: {name: i}\n---\nkind: Namespace\nmetadata: {name: n}");
  ASSERT_TRUE(plan) << plan.error().message();
  EXPECT_THAT(plan->ignored, ElementsAre("Ingress i"));
  EXPECT_EQ(plan->others.size(), 1u);
}

TEST(LabPlan, AddsTheVersionThatAnObjectLeavesOut) {
  const auto plan = plan_of(
      "kind: Namespace\nmetadata: {name: n}\n---\nkind: EndpointSlice\nmetadata: {name: e}\n---\n"
      "kind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, command: [a]}]}");
  ASSERT_TRUE(plan) << plan.error().message();
  EXPECT_EQ(text_at(plan->others[0], {"apiVersion"}), "v1");
  EXPECT_EQ(text_at(plan->others[1], {"apiVersion"}), "discovery.k8s.io/v1");
  EXPECT_EQ(text_at(plan->pods[0].object, {"apiVersion"}), "v1");
}

TEST(Selector, MatchesOnlyWhenEveryEntryDoesAndNeverWhenEmpty) {
  EXPECT_TRUE(selects({{"app", "web"}}, {{"app", "web"}, {"tier", "front"}}));
  EXPECT_FALSE(selects({{"app", "web"}, {"tier", "back"}}, {{"app", "web"}, {"tier", "front"}}));
  EXPECT_FALSE(selects({}, {{"app", "web"}}));
}

}  // namespace
}  // namespace heddle::tools
