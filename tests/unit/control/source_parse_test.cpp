// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/source/decode.h"

namespace heddle::source {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Objects parse(std::string_view text, Format format = Format::yaml) {
  auto objects = parse_objects(text, format);
  EXPECT_TRUE(objects) << objects.error().message();
  return objects ? std::move(*objects) : Objects{};
}

std::string error_of(std::string_view text, Format format = Format::yaml, const Limits& limits = {}) {
  const auto objects = parse_objects(text, format, limits);
  EXPECT_FALSE(objects) << "parsed " << (objects ? objects->size() : 0) << " objects";
  return objects ? std::string() : objects.error().detail;
}

constexpr std::string_view pod_yaml = R"(
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: shop
  uid: 6f1d
  labels: {app: web}
  annotations: {linkerd.io/inject: enabled, empty: }
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-abc, controller: true}]
spec:
  nodeName: node-a
  serviceAccountName: web
  containers:
  - name: app
    image: none
    command: [nginx]
    ports: [{name: http, containerPort: 8080}, {containerPort: 53, protocol: UDP}]
  initContainers:
  - {name: sidecar, restartPolicy: Always, ports: [{name: side, containerPort: 9000}]}
  - {name: init, ports: [{name: gone, containerPort: 9001}]}
status:
  phase: Running
  podIP: 10.1.0.5
  podIPs: [{ip: 10.1.0.5}, {ip: "fd00::5"}]
  conditions: [{type: Initialized, status: "False"}, {type: Ready, status: "True"}]
)";

TEST(ParseObjects, ReadsWhatHeddleNeedsOfAPod) {
  const Objects objects = parse(pod_yaml);
  ASSERT_EQ(objects.pods.size(), 1U);
  const Pod& pod = *objects.pods.front();
  EXPECT_EQ(pod.meta.ns, "shop");
  EXPECT_EQ(pod.meta.name, "web-1");
  EXPECT_EQ(pod.meta.annotations.at("linkerd.io/inject"), "enabled");
  EXPECT_EQ(pod.meta.annotations.at("empty"), "");
  ASSERT_EQ(pod.meta.owners.size(), 1U);
  EXPECT_TRUE(pod.meta.owners.front().controller);
  EXPECT_EQ(pod.node_name, "node-a");
  EXPECT_EQ(pod.service_account, "web");
  ASSERT_EQ(pod.ports.size(), 3U) << "ports of ordinary init containers are not the pod's";
  EXPECT_EQ(pod.ports[1].protocol, Protocol::udp);
  EXPECT_EQ(pod.ports[2].name, "side");
  ASSERT_EQ(pod.ips.size(), 2U);
  EXPECT_EQ(pod.ips[1].to_string(), "fd00::5");
  EXPECT_TRUE(pod.ready);
  EXPECT_FALSE(pod.host_network);
}

TEST(ParseObjects, GivesDefaultsForWhatIsAbsent) {
  const Objects objects = parse("{apiVersion: v1, kind: Pod, metadata: {name: bare}}");
  const Pod& pod = *objects.pods.at(0);
  EXPECT_EQ(pod.meta.ns, "default");
  EXPECT_EQ(pod.service_account, "default");
  EXPECT_FALSE(pod.ready);
  EXPECT_TRUE(pod.ips.empty());
}

TEST(ParseObjects, ExpandsListsAndSeveralDocumentsAndIgnoresOtherKinds) {
  const Objects objects = parse(R"(
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 3}}
- apiVersion: v1
  kind: ServiceAccountList
  items: [{apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: shop}}]
---
---
# only a comment
---
{apiVersion: v1, kind: Node, metadata: {name: node-a}, status: {addresses: [{type: InternalIP, address: 10.0.0.1}]}}
)");
  EXPECT_EQ(objects.namespaces.size(), 1U);
  EXPECT_EQ(objects.service_accounts.size(), 1U);
  ASSERT_EQ(objects.nodes.size(), 1U);
  EXPECT_EQ(objects.nodes.front()->internal_ips.size(), 1U);
  EXPECT_EQ(objects.size(), 3U);
}

TEST(ParseObjects, ReadsTargetPortsByNumberByNameAndByDefault) {
  const Objects objects = parse(R"(
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIPs: [10.96.0.10, "fd00:96::10"]
  internalTrafficPolicy: Local
  ports:
  - {name: a, port: 80, targetPort: 8080, appProtocol: http}
  - {name: b, port: 81, targetPort: http}
  - {name: c, port: 82}
  - {name: d, port: 82, protocol: UDP}
)");
  const Service& service = *objects.services.at(0);
  EXPECT_EQ(std::get<std::uint16_t>(service.ports[0].target_port), 8080);
  EXPECT_EQ(service.ports[0].app_protocol, "http");
  EXPECT_EQ(std::get<std::string>(service.ports[1].target_port), "http");
  EXPECT_EQ(std::get<std::uint16_t>(service.ports[2].target_port), 82);
  EXPECT_EQ(service.port(82), &service.ports[2]) << "a UDP port of the same number is another port";
  EXPECT_EQ(service.port(83), nullptr);
  EXPECT_EQ(service.cluster_ips.size(), 2U);
  EXPECT_TRUE(service.local_traffic_only);
  EXPECT_FALSE(service.headless);
}

TEST(ParseObjects, TreatsUnsetReadinessAsReadyAndKeepsTheRest) {
  const Objects objects = parse(R"(
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: every}, {name: none, port: null}]
endpoints:
- {addresses: [10.1.0.5], targetRef: {kind: Pod, name: web-1}, zone: z1, hints: {forZones: [{name: z1}]}}
- {addresses: [10.1.0.6], conditions: {ready: false, terminating: true}, hostname: web-2, nodeName: node-b}
)");
  const EndpointSlice& slice = *objects.slices.at(0);
  EXPECT_EQ(slice.service, "web");
  ASSERT_EQ(slice.ports.size(), 1U);
  ASSERT_EQ(slice.endpoints.size(), 2U);
  EXPECT_TRUE(slice.endpoints[0].ready);
  EXPECT_EQ(slice.endpoints[0].pod, "web-1");
  EXPECT_EQ(slice.endpoints[0].hint_zones, std::vector<std::string>{"z1"});
  EXPECT_FALSE(slice.endpoints[1].ready);
  EXPECT_TRUE(slice.endpoints[1].terminating);
  EXPECT_EQ(slice.endpoints[1].hostname, "web-2");
}

TEST(ParseObjects, TurnsEndpointsIntoOneSlicePerSubset) {
  const Objects objects = parse(R"(
apiVersion: v1
kind: Endpoints
metadata: {name: db, namespace: shop}
subsets:
- addresses: [{ip: 10.1.0.7, targetRef: {kind: Pod, name: db-0}}]
  notReadyAddresses: [{ip: 10.1.0.8}]
  ports: [{port: 3306}]
- addresses: [{ip: 10.2.0.1}]
  ports: [{port: 3307}]
)");
  ASSERT_EQ(objects.slices.size(), 2U);
  EXPECT_EQ(objects.slices[0]->service, "db");
  EXPECT_EQ(objects.slices[0]->endpoints[0].pod, "db-0");
  EXPECT_FALSE(objects.slices[0]->endpoints[1].ready);
  EXPECT_EQ(objects.slices[1]->ports[0].port, 3307);
}

TEST(ParseObjects, ReadsJsonLikeYaml) {
  const Objects objects =
      parse(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"\u0077eb","labels":{"n":"1"}},
    "spec":{"hostNetwork":true,"nodeName":null},"status":{"podIP":"10.1.0.5"}}
    {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"shop"}})",
            Format::json);
  ASSERT_EQ(objects.pods.size(), 1U);
  EXPECT_EQ(objects.pods[0]->meta.name, "web");
  EXPECT_TRUE(objects.pods[0]->host_network);
  EXPECT_EQ(objects.namespaces.size(), 1U) << "several values may follow each other";
  EXPECT_EQ(
      parse("{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"shop\"}}").size(),
      1U)
      << "and JSON in a .yaml file is YAML";
}

TEST(ParseObjects, ExpandsAnchorsAndAliases) {
  const Objects objects = parse(R"(
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: a, annotations: &mesh {linkerd.io/inject: enabled}}}
- {apiVersion: v1, kind: Pod, metadata: {name: b, annotations: *mesh}}
)");
  EXPECT_EQ(objects.pods.at(1)->meta.annotations.at("linkerd.io/inject"), "enabled");
}

TEST(ParseObjects, RefusesALaughAttackQuickly) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) text += before + (j < 9 ? ", " : "]\n");
  }
  EXPECT_THAT(error_of(text), HasSubstr("too much"));
}

TEST(ParseObjects, RefusesAliasesThatRepeatALongText) {
  std::string text = "a: &a " + std::string(100'000, 'x') + "\nb: [";
  for (int i = 0; i < 5'000; ++i) text += "*a, ";
  Limits limits;
  limits.bytes = 1024 * 1024;
  EXPECT_THAT(error_of(text + "*a]\n", Format::yaml, limits), HasSubstr("too much text"));
}

TEST(ParseObjects, RefusesAnAliasInsideWhatItNames) {
  EXPECT_THAT(error_of("a: &a [*a]\n"), StartsWith("1: "));
}

TEST(ParseObjects, BoundsSizeDepthAndNumber) {
  Limits limits;
  limits.bytes = 100;
  EXPECT_THAT(error_of(std::string(101, ' '), Format::yaml, limits), HasSubstr("larger than 100 bytes"));
  EXPECT_THAT(error_of(std::string(101, ' '), Format::json, limits), HasSubstr("larger than 100 bytes"));
  const std::string deep = std::string(200, '[') + std::string(200, ']');
  EXPECT_THAT(error_of(deep), HasSubstr("deeper"));
  EXPECT_THAT(error_of(deep, Format::json), HasSubstr("not JSON"));
  limits = {};
  limits.nodes = 10;
  EXPECT_THAT(error_of("[1,2,3,4,5,6,7,8,9,10,11]", Format::yaml, limits), HasSubstr("more than 10 values"));
}

TEST(ParseObjects, NamesTheLineTheObjectAndTheField) {
  const std::string wrong_port = R"(apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  ports:
  - port: eighty
)";
  EXPECT_EQ(error_of(wrong_port),
            "6: Service shop/web: port: expected a port from 1 to 65535, found 'eighty'");
  EXPECT_EQ(error_of("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nstatus: {podIP: 10.1.2}\n"),
            "4: Pod a: address: expected an IP address, found '10.1.2'");
  EXPECT_EQ(error_of("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostNetwork: yes please}\n"),
            "4: Pod a: hostNetwork: expected true or false, found 'yes please'");
  EXPECT_EQ(error_of("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: [1]\n"),
            "4: Pod a: spec: expected a map, found a list");
  EXPECT_EQ(error_of("apiVersion: v1\nkind: Pod\nmetadata: {name: a/b}\n"),
            "1: Pod a/b: metadata.name contains '/'");
}

TEST(ParseObjects, SaysWhereTheTextIsBroken) {
  EXPECT_THAT(error_of("kind: Pod\n  bad: [\n"), StartsWith("2: not YAML"));
  EXPECT_THAT(error_of("kind: Pod\nkind: Pod\n"), StartsWith("2: the key 'kind' occurs twice"));
  EXPECT_THAT(error_of("{\n\"kind\": }", Format::json), StartsWith("2: not JSON"));
  EXPECT_THAT(error_of("just text\n"), HasSubstr("not a Kubernetes object"));
  EXPECT_THAT(error_of("kind: Pod\n"), HasSubstr("apiVersion"));
  EXPECT_THAT(error_of("{\"kind\": \"Pod\"", Format::json), HasSubstr("not JSON"));
}

TEST(ParseObjects, KnowsTheStartupTaintOfNodes) {
  const auto objects = parse_objects(
      "{apiVersion: v1, kind: Node, metadata: {name: a}, spec: {taints: [{key: x}, {key: "
      "heddle.io/agent-not-ready, effect: NoSchedule}]}}\n---\n"
      "{apiVersion: v1, kind: Node, metadata: {name: b}, spec: {taints: [{key: x}]}}",
      Format::yaml);
  ASSERT_TRUE(objects);
  EXPECT_TRUE(objects->nodes.at(0)->startup_tainted);
  EXPECT_FALSE(objects->nodes.at(1)->startup_tainted);
}

}  // namespace
}  // namespace heddle::source
