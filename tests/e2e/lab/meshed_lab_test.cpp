// SPDX-License-Identifier: Apache-2.0
// A lab with the mesh: what a person does first, and what the views say about it.
#include <gmock/gmock.h>
#include "lab_fixture.h"
#include "tests/support/eventually.h"

namespace heddle::tools {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class MeshedLab : public LabTest, public testing::WithParamInterface<const char*> {};

TEST_P(MeshedLab, CarriesRequestsAndShowsThemInEveryView) {
  heddle_ok({"lab", "up", HEDDLE_EXAMPLES "/shop", "--name", name_, "--interception", GetParam()});
  for (int i = 0; i < 10; ++i) {
    const auto got = in_pod("shop/client", {"curl", "-sS", "--max-time", "10", "http://web.shop/"});
    ASSERT_THAT(got.out, HasSubstr("hello from web-")) << got.err;
  }
  const auto status = heddle_json({"status", "--lab", name_});
  std::size_t pods = 0;
  for (const auto& node : status.at("nodes").as_array()) {
    for (const auto& pod : node.at("agent").at("pods").as_array()) {
      ++pods;
      EXPECT_EQ(pod.at("mode").as_string(), GetParam()) << boost::json::serialize(pod);
      EXPECT_TRUE(pod.at("redirected").as_bool()) << boost::json::serialize(pod);
    }
  }
  EXPECT_EQ(pods, 3u);
  // Rules let the node's own addresses in, for the kubelet's probes: no way around that deserves a warning.
  const bool by_ebpf = std::string_view(GetParam()) == "ebpf";
  EXPECT_THAT(heddle_ok({"check", "--lab", name_}),
              AllOf(HasSubstr(by_ebpf ? "into 2 pods were tried" : "out of 2 pods and into 0 were tried"),
                    HasSubstr(by_ebpf ? "into 1 pods were tried" : "out of 1 pods and into 0 were tried"),
                    Not(HasSubstr("warn "))));
  EXPECT_THAT(heddle_ok({"endpoints", "--lab", name_, "-o", "json"}),
              AllOf(HasSubstr("web.shop.svc.cluster.local:80"), Not(HasSubstr("192.0.2.1"))));
  EXPECT_THAT(heddle_ok({"edges", "--lab", name_, "-o", "wide"}), HasSubstr("shop/client"));
  EXPECT_THAT(heddle_ok({"explain", "shop/client", "web.shop:80", "--lab", name_}),
              HasSubstr("web.shop.svc.cluster.local"));
  const auto stat = heddle_json({"stat", "--lab", name_, "--by", "pod", "--window", "0.2"});
  EXPECT_FALSE(stat.at("rows").as_array().empty());
}

TEST_P(MeshedLab, TellsOfAPodThatGetsAroundTheProxy) {
  const auto folder = objects(R"(
kind: Namespace
metadata: {name: shop, annotations: {linkerd.io/inject: enabled}}
---
kind: Pod
metadata: {name: leaky, namespace: shop, annotations: {config.linkerd.io/skip-outbound-ports: "9"}}
spec: {containers: [{name: c, command: [sleep, infinity]}]}
)");
  heddle_ok({"lab", "up", folder, "--name", name_, "--interception", GetParam()});
  const auto check = heddle({"check", "--lab", name_});
  EXPECT_EQ(check.exit.to_string(), "exit code 1");
  EXPECT_THAT(check.out, AllOf(HasSubstr("pod shop/leaky"), HasSubstr("192.0.2.1:9 was not taken over")));
}

TEST_P(MeshedLab, ShowsOnlyWhatIsAskedFor) {
  heddle_ok({"lab", "up", HEDDLE_EXAMPLES "/shop", "--name", name_, "--interception", GetParam()});
  // The client asks twice a second by itself.
  const auto tapped = heddle_json({"tap", "--lab", name_, "-n", "shop", "--path", "/", "--limit", "1"});
  EXPECT_EQ(tapped.at("namespace").as_string(), "shop");
  EXPECT_EQ(heddle({"tap", "--lab", name_, "--status", "99999"}).exit.to_string(), "exit code 2");
  EXPECT_THAT(heddle_ok({"explain", "client", "web.shop:80", "--lab", name_}), HasSubstr("state: service"));
  EXPECT_EQ(heddle_json({"identity", "--lab", name_, "-n", "shop"}).at("identities").as_array().size(), 2u);
  EXPECT_TRUE(
      heddle_json({"identity", "--lab", name_, "-n", "elsewhere"}).at("identities").as_array().empty());
  EXPECT_TRUE(
      heddle_json({"endpoints", "--lab", name_, "-n", "elsewhere"}).at("services").as_array().empty());
  const auto nobody = heddle({"explain", "shop/nobody", "web.shop:80", "--lab", name_});
  EXPECT_EQ(nobody.exit.to_string(), "exit code 1");
  EXPECT_THAT(nobody.err, HasSubstr("no proxy here serves a pod shop/nobody"));
  const auto nowhere = heddle({"lab", "capture", "node-9", "--name", name_});
  EXPECT_THAT(nowhere.err, HasSubstr("it has node-1, node-2"));
}

using ViewedLab = LabTest;

TEST_F(ViewedLab, IsShownInEveryFormat) {
  heddle_ok({"lab", "up", HEDDLE_EXAMPLES "/shop", "--name", name_});
  for (std::vector<std::string> view : {std::vector<std::string>{"check"},
                                        {"status"},
                                        {"stat", "--window", "0.2"},
                                        {"edges"},
                                        {"identity"},
                                        {"endpoints"},
                                        {"top", "--window", "0.2"},
                                        {"tap", "--limit", "1"},
                                        {"explain", "client", "web.shop:80"}}) {
    view.insert(view.end(), {"--lab", name_});
    EXPECT_TRUE(heddle_json(view).is_object());
    view.insert(view.end(), {"-o", "yaml"});
    EXPECT_THAT(heddle_ok(view), testing::ContainsRegex("(^|\n)[a-z_]+:")) << view[0];
    view.back() = "jsonpath=it is {.nothing}";
    EXPECT_EQ(heddle_ok(view), "it is \n") << view[0];
    for (const char* format : {"wide", "table"}) {
      view.back() = format;
      EXPECT_THAT(heddle_ok(view), testing::Not(testing::IsEmpty())) << view[0];
    }
  }
}

TEST_P(MeshedLab, ForgetsADeletedServiceAndGivesItsAddressBack) {
  heddle_ok({"lab", "up", HEDDLE_EXAMPLES "/shop", "--name", name_, "--interception", GetParam()});
  const auto state = [&] {
    const auto explained = heddle_json({"explain", "shop/client", "10.96.0.11:80", "--lab", name_});
    return std::string(explained.at("state").as_string());
  };
  ASSERT_EQ(state(), "service");
  heddle_ok({"lab", "delete", "Service", "shop/web", "--name", name_});
  EXPECT_TRUE(test::eventually([&] { return state() != "service"; })) << "control goes on knowing it";
  heddle_ok({"lab", "apply", HEDDLE_EXAMPLES "/shop/web.yaml", "--name", name_});
  EXPECT_TRUE(test::eventually([&] { return state() == "service"; }));
}

TEST_P(MeshedLab, OutlivesRestartsOfEveryProgram) {
  heddle_ok({"lab", "up", HEDDLE_EXAMPLES "/shop", "--name", name_, "--interception", GetParam()});
  for (const auto& restart : std::vector<std::vector<std::string>>{
           {"agent"}, {"agent", "--kill"}, {"proxy"}, {"proxy", "--kill"}, {"control", "--kill"}}) {
    std::vector<std::string> command{"lab", "restart", "--name", name_};
    command.insert(command.end(), restart.begin(), restart.end());
    heddle_ok(command);
    const auto got = in_pod("shop/client", {"curl", "-sS", "--max-time", "10", "http://web.shop/"});
    EXPECT_THAT(got.out, HasSubstr("hello from web-"))
        << "after restart of " << restart[0] << ": " << got.err;
  }
}

INSTANTIATE_TEST_SUITE_P(Interception, MeshedLab, testing::Values("ebpf", "iptables"),
                         [](const auto& mode) { return std::string(mode.param); });

}  // namespace
}  // namespace heddle::tools
