// SPDX-License-Identifier: Apache-2.0
#include "tools/deploy/manifest.h"

#include <gmock/gmock.h>

#include <set>

#include "tools/deploy/values.h"
#include "tools/lab/yaml.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using testing::ElementsAre;
using testing::HasSubstr;

json::object values_with(const std::vector<std::string>& assignments) {
  auto values = default_values().value();
  for (const auto& assignment : assignments) set_value(values, assignment).value();
  bracket_control_host(values);
  check_values(values).value();
  return values;
}

std::vector<json::object> objects_with(const std::vector<std::string>& assignments) {
  return parse_objects(render_manifest(values_with(assignments)).value(), "manifest").value();
}

// The object as JSON, or null.
json::value find(const std::vector<json::object>& objects, std::string_view kind, std::string_view name) {
  for (const auto& object : objects) {
    if (object.at("kind") == json::value(kind) && object.at("metadata").at("name") == json::value(name))
      return object;
  }
  return nullptr;
}

const json::value& pod_of(const json::value& workload) {
  return workload.at("spec").at("template").at("spec");
}

std::vector<std::string> arguments_of(const json::value& workload, std::size_t container = 0) {
  std::vector<std::string> out;
  for (const auto& argument : pod_of(workload).at("containers").at(container).at("args").as_array())
    out.emplace_back(argument.as_string());
  return out;
}

// "group/resource[names]: verbs" of every rule.
std::vector<std::string> rules_of(const json::value& role) {
  std::vector<std::string> out;
  for (const auto& rule : role.at("rules").as_array()) {
    std::string line;
    for (const char* part : {"apiGroups", "resources", "resourceNames", "verbs"}) {
      const auto* list = rule.as_object().if_contains(part);
      if (list) line += (line.empty() ? "" : " ") + json::serialize(*list);
    }
    out.push_back(line);
  }
  return out;
}

const std::vector<std::pair<std::string, std::string>> workloads = {
    {"Deployment", "heddle-control"}, {"DaemonSet", "heddle-agent"}, {"DaemonSet", "heddle-proxy"}};

TEST(Manifest, HoldsEveryObjectOnce) {
  std::set<std::string> seen;
  const auto objects = objects_with({});
  for (const auto& object : objects) {
    const auto& metadata = object.at("metadata").as_object();
    const auto* space = metadata.if_contains("namespace");
    const std::string name = json::serialize(object.at("kind")) + json::serialize(metadata.at("name"));
    EXPECT_TRUE(seen.insert(name).second) << name;
    EXPECT_EQ(metadata.at("labels").at("app.kubernetes.io/name").as_string(), "heddle") << name;
    if (space != nullptr) {
      EXPECT_EQ(space->as_string(), "heddle") << name;
    }
  }
  EXPECT_EQ(objects.size(), 20u);
  EXPECT_EQ(objects.front().at("kind").as_string(), "Namespace");
}

TEST(Manifest, NoContainerIsPrivileged) {
  const auto objects = objects_with({"openshift=true"});
  for (const auto& [kind, name] : workloads) {
    const auto workload = find(objects, kind, name);
    for (const auto& container : pod_of(workload).at("containers").as_array()) {
      const auto& context = container.at("securityContext").as_object();
      EXPECT_FALSE(context.contains("privileged")) << name;
      EXPECT_FALSE(context.at("allowPrivilegeEscalation").as_bool()) << name;
      EXPECT_TRUE(context.at("readOnlyRootFilesystem").as_bool()) << name;
      EXPECT_EQ(json::serialize(context.at("capabilities").at("drop")), "[\"ALL\"]") << name;
    }
  }
}

TEST(Manifest, TheProxyHasNothing) {
  const auto objects = objects_with({});
  const auto proxy = find(objects, "DaemonSet", "heddle-proxy");
  const auto& pod = pod_of(proxy);
  EXPECT_EQ(pod.at("securityContext").at("runAsUser").as_int64(), 65534);
  EXPECT_TRUE(pod.at("securityContext").at("runAsNonRoot").as_bool());
  EXPECT_EQ(pod.at("securityContext").at("seccompProfile").at("type").as_string(), "RuntimeDefault");
  EXPECT_FALSE(pod.at("automountServiceAccountToken").as_bool());
  EXPECT_FALSE(pod.as_object().contains("hostPID"));
  EXPECT_FALSE(
      pod.at("containers").at(0).at("securityContext").at("capabilities").as_object().contains("add"));
  for (const auto& object : objects) {
    if (const auto* subjects = object.if_contains("subjects")) {
      EXPECT_THAT(json::serialize(*subjects), testing::Not(HasSubstr("heddle-proxy")));
    }
  }
}

TEST(Manifest, OnlyTheAgentItselfHasCapabilities) {
  const auto agent = find(objects_with({}), "DaemonSet", "heddle-agent");
  const auto& containers = pod_of(agent).at("containers").as_array();
  EXPECT_EQ(json::serialize(containers.at(0).at("securityContext").at("capabilities").at("add")),
            R"(["SYS_ADMIN","NET_ADMIN","NET_RAW","SYS_PTRACE","DAC_OVERRIDE","CHOWN"])");
  EXPECT_FALSE(containers.at(1).at("securityContext").at("capabilities").as_object().contains("add"));
}

TEST(Manifest, RolesGrantTheseVerbsAndNoOther) {
  const auto objects = objects_with({});
  EXPECT_THAT(rules_of(find(objects, "ClusterRole", "heddle-agent")),
              ElementsAre(R"([""] ["pods","namespaces"] ["get","list","watch"])",
                          R"([""] ["events"] ["create","patch"])"));
  EXPECT_THAT(rules_of(find(objects_with({"agent.podTokens=true"}), "ClusterRole", "heddle-agent")),
              ::testing::Contains(R"([""] ["serviceaccounts/token"] ["create"])"));
  EXPECT_THAT(rules_of(find(objects, "Role", "heddle-agent")),
              ElementsAre(R"(["apps"] ["daemonsets"] ["heddle-agent"] ["get","watch"])"));
  EXPECT_THAT(
      rules_of(find(objects, "ClusterRole", "heddle-control")),
      ElementsAre(
          R"([""] ["namespaces","nodes","pods","services","endpoints"] ["list","watch"])",
          R"(["discovery.k8s.io"] ["endpointslices"] ["list","watch"])",
          R"(["authentication.k8s.io"] ["tokenreviews"] ["create"])", R"([""] ["nodes"] ["get","patch"])",
          R"(["admissionregistration.k8s.io"] ["mutatingwebhookconfigurations"] ["heddle-injector"] ["get","watch","patch"])"));
  EXPECT_THAT(rules_of(find(objects, "Role", "heddle-control")),
              ElementsAre(R"([""] ["secrets"] ["heddle-identity-issuer"] ["get","watch","update"])",
                          R"([""] ["configmaps"] ["heddle-trust-anchors"] ["get","watch"])",
                          R"([""] ["secrets"] ["heddle-injector-tls"] ["get","watch","patch"])",
                          R"([""] ["secrets","configmaps"] ["create"])"));
}

TEST(Manifest, SwitchesTakeTheirRightsWithThem) {
  const auto objects =
      objects_with({"startupTaint=false", "injector=false", "networkPolicy=false", "createNamespace=false"});
  EXPECT_EQ(rules_of(find(objects, "ClusterRole", "heddle-control")).size(), 3u);
  EXPECT_TRUE(find(objects, "MutatingWebhookConfiguration", "heddle-injector").is_null());
  EXPECT_TRUE(find(objects, "NetworkPolicy", "heddle-control").is_null());
  EXPECT_TRUE(find(objects, "Namespace", "heddle").is_null());
  for (const auto& argument : arguments_of(find(objects, "Deployment", "heddle-control")))
    EXPECT_THAT(argument, testing::Not(HasSubstr("webhook")));
}

TEST(Manifest, SelectorsMeetTheirPods) {
  const auto objects = objects_with({});
  for (const auto& [kind, name] : workloads) {
    const auto workload = find(objects, kind, name);
    EXPECT_EQ(workload.at("spec").at("selector").at("matchLabels"),
              workload.at("spec").at("template").at("metadata").at("labels"))
        << name;
  }
  const auto control_plane = find(objects, "Deployment", "heddle-control");
  const auto& control = control_plane.at("spec").at("template").at("metadata").at("labels");
  for (const char* service : {"heddle-control", "heddle-injector"})
    EXPECT_EQ(find(objects, "Service", service).at("spec").at("selector"), control) << service;
  EXPECT_EQ(
      find(objects, "PodDisruptionBudget", "heddle-control").at("spec").at("selector").at("matchLabels"),
      control);
}

TEST(Manifest, EveryMountHasItsVolume) {
  const auto objects = objects_with({});
  for (const auto& [kind, name] : workloads) {
    const auto workload = find(objects, kind, name);
    std::set<std::string> volumes;
    std::set<std::string> mounts;
    for (const auto& volume : pod_of(workload).at("volumes").as_array())
      volumes.emplace(volume.at("name").as_string());
    for (const auto& container : pod_of(workload).at("containers").as_array()) {
      for (const auto& mount : container.at("volumeMounts").as_array())
        mounts.emplace(mount.at("name").as_string());
    }
    EXPECT_EQ(volumes, mounts) << name;
  }
}

TEST(Manifest, TheWebhookLeavesTheControlPlaneAlone) {
  const auto configuration =
      find(objects_with({"namespace=mesh"}), "MutatingWebhookConfiguration", "heddle-injector");
  const auto& webhook = configuration.at("webhooks").at(0);
  EXPECT_EQ(webhook.at("failurePolicy").as_string(), "Ignore");
  EXPECT_EQ(json::serialize(webhook.at("namespaceSelector").at("matchExpressions").at(1).at("values")),
            R"(["kube-system","mesh"])");
  EXPECT_EQ(webhook.at("clientConfig").at("service").at("namespace").as_string(), "mesh");
}

TEST(Manifest, FlagsFollowValues) {
  const auto objects = objects_with({"namespace=mesh", "clusterDomain=c.example", "trustDomain=t.example",
                                     "logLevel=debug", "agent.extraArgs=['--a=\"b']", "tokenAudience=aud"});
  const auto agent = arguments_of(find(objects, "DaemonSet", "heddle-agent"));
  EXPECT_THAT(agent, testing::IsSupersetOf({"--identity-address=heddle-control.mesh.svc.c.example:8080",
                                            "--control-namespace=mesh", "--trust-domain=t.example",
                                            "--token-audience=aud", "--log-level=debug", "--a=\"b"}));
  const auto proxy = arguments_of(find(objects, "DaemonSet", "heddle-proxy"));
  EXPECT_THAT(proxy, testing::Contains("--destination-address=heddle-control.mesh.svc.c.example:8086"));
  const auto elsewhere = objects_with({"controlHost=10.96.0.20"});
  EXPECT_THAT(arguments_of(find(elsewhere, "DaemonSet", "heddle-proxy")),
              testing::Contains("--destination-address=10.96.0.20:8086"));
}

TEST(Manifest, AddressOfControlIsToldFromItsPort) {
  for (const char* host : {"controlHost='fd96::14'", "controlHost='[fd96::14]'"}) {
    const auto objects = objects_with({host});
    EXPECT_THAT(arguments_of(find(objects, "DaemonSet", "heddle-proxy")),
                testing::Contains("--destination-address=[fd96::14]:8086"));
    EXPECT_THAT(arguments_of(find(objects, "DaemonSet", "heddle-agent")),
                testing::Contains("--identity-address=[fd96::14]:8080"));
  }
}

TEST(Manifest, RemovalNamesEveryObjectWebhookFirstNamespaceLast) {
  const auto values = values_with({});
  const auto installed = parse_objects(render_manifest(values).value(), "manifest").value();
  const auto removed = parse_objects(render_removal(values, Removal::everything).value(), "removal").value();
  ASSERT_EQ(removed.size(), installed.size() - 1);
  for (const auto& object : installed) {
    if (object.at("kind").as_string() == "PodDisruptionBudget") continue;  // goes with the namespace
    const auto there =
        find(removed, object.at("kind").as_string(), object.at("metadata").at("name").as_string());
    ASSERT_FALSE(there.is_null()) << json::serialize(object.at("metadata"));
    EXPECT_EQ(there.at("apiVersion"), object.at("apiVersion"));
  }
  EXPECT_EQ(removed.front().at("kind").as_string(), "MutatingWebhookConfiguration");
  EXPECT_EQ(removed.at(1).at("metadata").at("name").as_string(), "heddle-agent");
  EXPECT_EQ(removed.back().at("kind").as_string(), "Namespace");
}

TEST(Manifest, RemovalFromNodesLeavesTheAgentsRole) {
  const auto removed =
      parse_objects(render_removal(values_with({}), Removal::nodes).value(), "removal").value();
  ASSERT_EQ(removed.size(), 3u);
  EXPECT_EQ(removed.at(0).at("kind").as_string(), "MutatingWebhookConfiguration");
  EXPECT_EQ(removed.at(1).at("metadata").at("name").as_string(), "heddle-agent");
  EXPECT_EQ(removed.at(2).at("metadata").at("name").as_string(), "heddle-proxy");
}

TEST(Manifest, RemovalFromAForeignNamespaceNamesWhatControlMade) {
  const auto removed =
      parse_objects(render_removal(values_with({"createNamespace=false"}), Removal::everything).value(),
                    "removal")
          .value();
  EXPECT_FALSE(find(removed, "Secret", "heddle-identity-issuer").is_null());
  EXPECT_FALSE(find(removed, "ConfigMap", "heddle-trust-anchors").is_null());
  EXPECT_FALSE(find(removed, "ConfigMap", choice_name).is_null());
  EXPECT_TRUE(find(removed, "Namespace", "heddle").is_null());
}

TEST(Manifest, RemovalByTheApiServerIsThatOfKubectl) {
  for (const auto* created : {"createNamespace=true", "createNamespace=false"}) {
    const auto values = values_with({created});
    const auto named = parse_objects(render_removal(values, Removal::everything).value(), "removal").value();
    const auto plan = removal_plan(values).value();
    ASSERT_EQ(plan.nodes.size(), 3U);
    ASSERT_EQ(plan.nodes.size() + plan.rest.size(), named.size());
    std::size_t at = 0;
    for (const auto* part : {&plan.nodes, &plan.rest}) {
      for (const auto& object : *part) {
        EXPECT_EQ(named[at].at("kind").as_string(), object.kind);
        EXPECT_EQ(named[at++].at("metadata").at("name").as_string(), object.name);
      }
    }
  }
}

TEST(Manifest, TheChoiceComesBackAsItWas) {
  const auto chosen = json::parse(R"({"logLevel":"debug","agent":{"extraArgs":["--a=\"b\\"]}})").as_object();
  const auto objects = parse_objects(render_choice(values_with({}), chosen, "1.2.3"), "choice").value();
  const auto& data = objects.front().at("data").as_object();
  EXPECT_EQ(data.at("version").as_string(), "1.2.3");
  EXPECT_EQ(json::parse(json::string_view(data.at("values").as_string())), json::value(chosen));
}

}  // namespace
}  // namespace heddle::tools
