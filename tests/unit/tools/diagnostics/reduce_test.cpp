// SPDX-License-Identifier: Apache-2.0
#include "tools/diagnostics/reduce.h"

#include <gmock/gmock.h>

#include "tools/output/walk.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing::Not;

json::object object(const char* text) {
  return json::parse(text).as_object();
}

// A secret in every place where Kubernetes lets an application put text of its own.
constexpr const char* full_pod = R"({
 "apiVersion":"v1","kind":"Pod",
 "metadata":{"name":"web-1","namespace":"shop","uid":"u1","labels":{"app":"web"},"creationTimestamp":"2026-01-01T00:00:00Z",
  "annotations":{"linkerd.io/inject":"enabled","heddle.io/mode":"node","vault.example/token":"SEED",
   "kubectl.kubernetes.io/last-applied-configuration":"{\"env\":\"SEED\"}"},
  "ownerReferences":[{"kind":"ReplicaSet","name":"web","uid":"u2","note":"SEED"}],
  "managedFields":[{"manager":"SEED"}]},
 "spec":{"nodeName":"n1","serviceAccountName":"web","hostAliases":[{"hostnames":["SEED"]}],
  "initContainers":[{"name":"init","image":"i:1","command":["sh","-c","echo SEED"]}],
  "containers":[{"name":"main","image":"registry.example/web:1","command":["SEED"],"args":["--password","SEED"],
   "workingDir":"SEED","env":[{"name":"DB_PASSWORD","value":"SEED"}],"envFrom":[{"secretRef":{"name":"SEED"}}],
   "ports":[{"containerPort":8080}],
   "lifecycle":{"preStop":{"exec":{"command":["SEED"]}}},
   "livenessProbe":{"periodSeconds":3,"httpGet":{"port":8080,"path":"/?token=SEED","httpHeaders":[{"name":"Authorization","value":"SEED"}]}},
   "readinessProbe":{"exec":{"command":["sh","-c","SEED"]}}}],
  "volumes":[{"name":"v","csi":{"volumeAttributes":{"key":"SEED"}}}]},
 "status":{"phase":"Running","podIP":"10.0.0.7","message":"SEED",
  "conditions":[{"type":"Ready","status":"False","reason":"ContainersNotReady","message":"SEED"}],
  "containerStatuses":[{"name":"main","restartCount":3,"containerID":"containerd://c1",
   "state":{"waiting":{"reason":"CrashLoopBackOff","message":"SEED"}},
   "lastState":{"terminated":{"exitCode":7,"reason":"Error","message":"SEED"}}}]}})";

TEST(ReducePod, LeavesOutWhateverAnApplicationWrote) {
  const auto reduced = reduce_pod(object(full_pod));
  EXPECT_THAT(json::serialize(reduced), Not(HasSubstr("SEED")));
}

TEST(ReducePod, KeepsWhatTellsHowItIsMeshed) {
  const auto pod = reduce_pod(object(full_pod));
  EXPECT_EQ(text_at(pod, {"metadata", "name"}), "web-1");
  EXPECT_EQ(json::serialize(*find_object(pod, {"metadata", "annotations"})),
            R"({"linkerd.io/inject":"enabled","heddle.io/mode":"node"})");
  EXPECT_EQ(text_at(pod, {"spec", "nodeName"}), "n1");
  EXPECT_EQ(text_at(pod, {"status", "podIP"}), "10.0.0.7");
  const auto& container = find_array(pod, {"spec", "containers"})->at(0).as_object();
  EXPECT_EQ(json::serialize(*find_array(container, {"ports"})), R"([{"containerPort":8080}])");
  EXPECT_EQ(text_at(container, {"livenessProbe", "httpGet", "port"}), "8080");
  EXPECT_TRUE(find_object(container, {"readinessProbe", "exec"}));
  const auto& status = find_array(pod, {"status", "containerStatuses"})->at(0).as_object();
  EXPECT_EQ(text_at(status, {"state", "waiting", "reason"}), "CrashLoopBackOff");
  EXPECT_EQ(text_at(status, {"lastState", "terminated", "exitCode"}), "7");
}

TEST(ReducePod, TakesStrangeObjectsToo) {
  for (const char* text :
       {"{}", R"({"metadata":3,"spec":[],"status":"x"})",
        R"({"metadata":{"annotations":[]},"spec":{"containers":[7,{"livenessProbe":1}]}})"}) {
    EXPECT_TRUE(reduce_pod(object(text)).contains("metadata")) << text;
  }
}

TEST(ReduceEvent, HasMessagesOfNetworksAndHeddleOnly) {
  const auto event = [](const std::string& reason, const std::string& component, const std::string& ns,
                        const std::string& name) {
    return reduce_event(
        object((R"({"reason":")" + reason + R"(","message":"what happened","source":{"component":")" +
                component + R"("},"involvedObject":{"kind":"Pod","namespace":")" + ns + R"(","name":")" +
                name + R"("},"metadata":{"annotations":{"a":"SEED"}}})")
                   .c_str()),
        "heddle");
  };
  EXPECT_TRUE(event("FailedCreatePodSandBox", "kubelet", "shop", "web").contains("message"));
  EXPECT_TRUE(event("Unhealthy", "heddle-agent", "shop", "web").contains("message"));
  EXPECT_TRUE(event("Unhealthy", "kubelet", "heddle", "heddle-agent-x").contains("message"));
  EXPECT_FALSE(
      event("Unhealthy", "kubelet", "shop", "web").contains("message"));  // says what the probe printed
  EXPECT_FALSE(event("FailedPostStartHook", "kubelet", "shop", "web").contains("message"));
  EXPECT_FALSE(event("Unhealthy", "kubelet", "heddle", "stranger").contains("message"));
  EXPECT_THAT(json::serialize(event("Unhealthy", "kubelet", "shop", "web")), Not(HasSubstr("SEED")));
}

TEST(TimeOfEvent, IsTheLatestThatItSays) {
  EXPECT_EQ(time_of_event(object(
                R"({"firstTimestamp":"2026-01-01T00:00:00Z","lastTimestamp":"2026-01-02T00:00:00Z"})")),
            "2026-01-02T00:00:00Z");
  EXPECT_EQ(time_of_event(object(R"({"lastTimestamp":null,"eventTime":"2026-01-03T00:00:00.000000Z"})")),
            "2026-01-03T00:00:00.000000Z");
  EXPECT_EQ(time_of_event(object("{}")), "");
}

TEST(ReduceOwn, HasNoEnvironmentNoForeignAnnotationAndNoCredential) {
  const auto own = reduce_own(object(R"({"kind":"DaemonSet",
   "metadata":{"name":"heddle-agent","managedFields":[{"manager":"SEED"}],
    "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"SEED","heddle.io/version":"0.1.0"}},
   "spec":{"template":{"metadata":{"annotations":{"vault.example/x":"SEED","linkerd.io/inject":"disabled"}},
    "spec":{"containers":[{"name":"agent","args":["--log-level=info","--otlp-token=SEED"],
     "env":[{"name":"X","value":"SEED"},{"name":"N","valueFrom":{"fieldRef":{"fieldPath":"spec.nodeName"}}}]}]}}},
   "data":{"values":"{\"password\":\"SEED\",\"logLevel\":\"info\"}",
    "pem":"-----BEGIN EC PRIVATE KEY-----\nSEED\n-----END EC PRIVATE KEY-----\n"}})"));
  const auto text = json::serialize(own);
  EXPECT_THAT(text, Not(HasSubstr("SEED")));
  EXPECT_THAT(text, HasSubstr(R"("heddle.io/version":"0.1.0")"));
  EXPECT_THAT(text, HasSubstr("--log-level=info"));
  EXPECT_THAT(text, HasSubstr("spec.nodeName"));
  EXPECT_THAT(text, HasSubstr("linkerd.io/inject"));
}

TEST(ReduceService, KeepsWhatDiscoveryIsMadeOf) {
  const auto service = reduce_service(object(R"({"kind":"Service","metadata":{"name":"web","annotations":
   {"kubectl.kubernetes.io/last-applied-configuration":"SEED","service.beta.example/tls-key":"SEED"}},
   "spec":{"clusterIP":"10.96.0.1","selector":{"app":"web"},"ports":[{"port":80,"appProtocol":"http"}],"note":"SEED"}})"));
  EXPECT_EQ(
      json::serialize(service.at("spec")),
      R"({"clusterIP":"10.96.0.1","ports":[{"port":80,"appProtocol":"http"}],"selector":{"app":"web"}})");
  EXPECT_THAT(json::serialize(service), Not(HasSubstr("SEED")));
}

TEST(ReduceEndpoints, KeepsAddressesOfBothKinds) {
  const auto old = reduce_endpoints(object(R"({"metadata":{"name":"web","annotations":{"a":"SEED"}},
   "subsets":[{"addresses":[{"ip":"10.0.0.1"}],"ports":[{"port":80}]}]})"));
  EXPECT_EQ(json::serialize(old.at("subsets")),
            R"([{"addresses":[{"ip":"10.0.0.1"}],"ports":[{"port":80}]}])");
  const auto slice = reduce_endpoints(object(R"({"metadata":{"name":"web-1"},"addressType":"IPv4","ports":[],
   "endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":true},"deprecatedTopology":{"x":"y"}}]})"));
  EXPECT_EQ(json::serialize(slice.at("endpoints")),
            R"([{"addresses":["10.0.0.1"],"conditions":{"ready":true}}])");
  EXPECT_THAT(json::serialize(old), Not(HasSubstr("SEED")));
}

}  // namespace
}  // namespace heddle::tools
