// SPDX-License-Identifier: Apache-2.0
#include "tools/diagnostics/names.h"

#include <gmock/gmock.h>

#include "tools/diagnostics/bundle.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing::Not;

json::object pod() {
  return json::
      parse(R"({"kind":"Pod","metadata":{"name":"web-abc-1","namespace":"shop","labels":{"app":"web","n":"7"},
    "ownerReferences":[{"name":"web-abc"}]},"spec":{"nodeName":"ip-10-0-0-7.example.internal","serviceAccountName":"seller",
    "containers":[{"name":"main","image":"registry.acme.test/team/basket:1.2"}]}})")
          .as_object();
}

TEST(Names, AreReplacedWhereverTheyStand) {
  Names names;
  names.add_object(pod());
  const auto text = names.apply(
      "seller.shop.serviceaccount.identity pod=shop/web-abc-1 {pod=\"web-abc-1\"} "
      "registry.acme.test/team/basket:1.2 on ip-10-0-0-7.example.internal");
  for (const char* gone : {"shop", "web", "seller", "acme", "basket", "ip-10-0-0-7", "example"}) {
    EXPECT_THAT(text, Not(HasSubstr(gone))) << text;
  }
  EXPECT_THAT(
      text, HasSubstr("account-1.namespace-1.serviceaccount.identity pod=namespace-1/pod-1 {pod=\"pod-1\"}"));
}

TEST(Names, LeaveWordsAloneThatOnlyContainThem) {
  Names names;
  names.add("pod", "web");
  EXPECT_EQ(names.apply("web webby web_1 web-2 (web) cobweb"), "pod-1 webby web_1 web-2 (pod-1) cobweb");
}

TEST(Names, LeaveKeysOfJsonAndWhatEveryClusterHas) {
  Names names;
  for (const char* name : {"node", "default", "kube-system", "heddle-agent", "7", "a"})
    names.add("pod", name);
  EXPECT_EQ(names.apply(R"({"node":"node","namespace":"default","x":"kube-system heddle-agent 7 a"})"),
            R"({"node":"pod-1","namespace":"default","x":"kube-system heddle-agent 7 a"})");
}

TEST(Names, ComeFromTheStatesOfAgentsToo) {
  Names names;
  names.add_state(
      json::parse(
          R"({"node":"n-east","pods":[{"namespace":"shop","name":"api","service_account":"seller"},7]})")
          .as_object());
  EXPECT_EQ(names.apply("n-east shop api seller"), "node-1 namespace-1 pod-1 account-1");
}

TEST(Names, AreReplacedInPathsAndTheManifestOfABundle) {
  Bundle bundle;
  bundle.add_text("namespaces/shop/pods.json", "in shop", "GET shop");
  bundle.missing("node n-east", "away");
  bundle.names().add("namespace", "shop");
  bundle.names().add("node", "n-east");
  bundle.rename();
  EXPECT_THAT(json::serialize(bundle.manifest(0)), Not(HasSubstr("shop")));
  EXPECT_THAT(json::serialize(bundle.manifest(0)), Not(HasSubstr("n-east")));
  EXPECT_EQ(bundle.files().front().path, "namespaces/namespace-1/pods.json");
  EXPECT_EQ(bundle.files().front().text, "in namespace-1");
}

}  // namespace
}  // namespace heddle::tools
