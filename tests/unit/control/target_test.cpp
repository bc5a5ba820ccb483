// SPDX-License-Identifier: Apache-2.0
#include "control/discovery/target.h"

#include <gtest/gtest.h>

namespace heddle::control {
namespace {

ServiceTarget service(std::string_view path, std::string_view domain = "cluster.local") {
  const auto target = parse_target(path, domain);
  EXPECT_TRUE(target) << target.error().message();
  if (!target || !std::holds_alternative<ServiceTarget>(*target)) return {};
  return std::get<ServiceTarget>(*target);
}

TEST(ParseTarget, ReadsAServiceItsInstanceAndItsPort) {
  EXPECT_EQ(service("web.shop.svc.cluster.local:8080"), (ServiceTarget{"shop", "web", "", 8080}));
  EXPECT_EQ(service("web-0.web.shop.svc.cluster.local:80"), (ServiceTarget{"shop", "web", "web-0", 80}));
  EXPECT_EQ(service("web.shop.svc.cluster.local"), (ServiceTarget{"shop", "web", "", 80}));
  EXPECT_EQ(service("Web.Shop.SVC.cluster.local.:80"), (ServiceTarget{"shop", "web", "", 80}));
  EXPECT_EQ(service("web.shop.svc.my.domain:80", "my.domain"), (ServiceTarget{"shop", "web", "", 80}));
}

TEST(ParseTarget, ReadsAddresses) {
  EXPECT_EQ(std::get<SocketAddress>(parse_target("10.1.0.1:8080", "cluster.local").value()).to_string(),
            "10.1.0.1:8080");
  EXPECT_EQ(std::get<SocketAddress>(parse_target("[fd00::1]:80", "cluster.local").value()).to_string(),
            "[fd00::1]:80");
  EXPECT_EQ(std::get<SocketAddress>(parse_target("10.1.0.1", "cluster.local").value()).port, 80);
}

TEST(ParseTarget, RefusesEverythingElseWithTheForms) {
  for (const std::string path : {"",
                                 ":",
                                 ":80",
                                 "web",
                                 "web.shop",
                                 "web.shop.svc",
                                 "svc.cluster.local:80",
                                 "shop.svc.cluster.local:80",
                                 ".web.shop.svc.cluster.local:80",
                                 "web..svc.cluster.local:80",
                                 "a.b.web.shop.svc.cluster.local:80",
                                 "web.shop.svc.other.domain:80",
                                 "web.shop.svc.cluster.local:0",
                                 "web.shop.svc.cluster.local:65536",
                                 "web.shop.svc.cluster.local:",
                                 "web.shop.svc.cluster.local:http",
                                 "web/x.shop.svc.cluster.local:80",
                                 "-web.shop.svc.cluster.local:80",
                                 "10.1.0.1:0",
                                 "web.shop.svc.cluster.local:80:80"}) {
    const auto target = parse_target(path, "cluster.local");
    ASSERT_FALSE(target) << path;
    EXPECT_NE(target.error().detail.find("SERVICE.NAMESPACE.svc.cluster.local:PORT"), std::string::npos)
        << target.error().detail;
  }
  EXPECT_FALSE(parse_target(std::string(10'000, 'a'), "cluster.local"));
}

TEST(ParseClient, ReadsTheTokenAndTakesGarbageForNone) {
  const Client client = parse_client(R"({"ns":"shop","nodeName":"n1","pod":"web-1"})");
  EXPECT_EQ(client.ns, "shop");
  EXPECT_EQ(client.node, "n1");
  EXPECT_EQ(client.pod, "web-1");
  for (const std::string token : {"", "{", "[]", "null", "ns:shop", R"({"nodeName":1})"}) {
    EXPECT_EQ(parse_client(token).node, "") << token;
  }
}

}  // namespace
}  // namespace heddle::control
