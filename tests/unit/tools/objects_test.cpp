// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/objects.h"

#include <gmock/gmock.h>

#include "tools/lab/yaml.h"

namespace heddle::tools {
namespace {

using testing::HasSubstr;
using testing::Not;

class Objects : public testing::Test {
 protected:
  void SetUp() override {
    auto objects = parse_objects(R"(
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {containers: [{name: c, command: [x], ports: [{name: http, containerPort: 8080}]}]}
---
kind: Pod
metadata: {name: web-2, namespace: shop, labels: {app: web}}
spec: {containers: [{name: c, command: [x], ports: [{name: http, containerPort: 8080}]}]}
---
kind: Pod
metadata: {name: web-3, namespace: other, labels: {app: web}}
spec: {containers: [{name: c, command: [x]}]}
---
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ipFamilies: [IPv4, IPv6], ports: [{name: http, port: 80, targetPort: http, appProtocol: http}]}
)",
                                 "objects");
    plan_ = *make_plan(*objects);
    for (std::size_t i = 0; i < plan_.pods.size(); ++i) {
      LabPodStatus status;
      status.phase = "Running";
      status.ready = i != 1;
      status.ips = {"10.244.1." + std::to_string(i + 2), "fd00::" + std::to_string(i + 2)};
      pods_.emplace_back(&plan_.pods[i], status);
    }
  }

  LabPlan plan_;
  std::vector<std::pair<const LabPod*, LabPodStatus>> pods_;
};

TEST_F(Objects, ListsSelectedPodsOfTheNamespaceWithTheirReadiness) {
  const auto slices = endpoint_slices(plan_.services[0], pods_);
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_EQ(slices[0].at("addressType").as_string(), "IPv4");
  const auto& endpoints = slices[0].at("endpoints").as_array();
  ASSERT_EQ(endpoints.size(), 2u);
  EXPECT_TRUE(endpoints[0].at("conditions").at("ready").as_bool());
  EXPECT_FALSE(endpoints[1].at("conditions").at("ready").as_bool());
  EXPECT_EQ(endpoints[1].at("addresses").as_array()[0].as_string(), "10.244.1.3");
  EXPECT_EQ(slices[0].at("ports").as_array()[0].at("port").to_number<int>(), 8080);
  EXPECT_EQ(slices[0].at("ports").as_array()[0].at("appProtocol").as_string(), "http");
  EXPECT_EQ(slices[1].at("endpoints").as_array()[0].at("addresses").as_array()[0].as_string(), "fd00::2");
}

TEST_F(Objects, ShowsAPodsStatusAsTheApiServerWould) {
  const auto object = pod_with_status(plan_.pods[0], pods_[0].second);
  const auto& status = object.at("status").as_object();
  EXPECT_EQ(status.at("podIP").as_string(), "10.244.1.2");
  EXPECT_EQ(status.at("podIPs").as_array().size(), 2u);
  EXPECT_EQ(object.at("spec").at("nodeName").as_string(), "node-1");
}

TEST_F(Objects, SendsServiceAddressesToReadyPodsOnly) {
  const auto rules = service_rules(plan_, pods_);
  EXPECT_THAT(
      rules,
      HasSubstr(
          "ip daddr 10.96.0.11 tcp dport 80 dnat ip to numgen random mod 1 map { 0 : 10.244.1.2 . 8080 }"));
  EXPECT_THAT(rules, Not(HasSubstr("10.244.1.3")));
}

TEST_F(Objects, KnowsServicesByAllTheirNames) {
  EXPECT_THAT(hosts_file(plan_, "shop"),
              HasSubstr("10.96.0.11 web.shop.svc.cluster.local web.shop.svc web.shop web\n"));
  EXPECT_THAT(hosts_file(plan_, "other"), HasSubstr("web.shop\n"));
}

}  // namespace
}  // namespace heddle::tools
