// SPDX-License-Identifier: Apache-2.0
// A lab with the mesh: what a person does first, and what the views say about it.
#include <gmock/gmock.h>

#include "lab_fixture.h"

namespace heddle::tools {
namespace {

using testing::HasSubstr;

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
  heddle_ok({"check", "--lab", name_});
  EXPECT_THAT(heddle_ok({"edges", "--lab", name_, "-o", "wide"}), HasSubstr("shop/client"));
  EXPECT_THAT(heddle_ok({"explain", "shop/client", "web.shop:80", "--lab", name_}),
              HasSubstr("web.shop.svc.cluster.local"));
  const auto stat = heddle_json({"stat", "--lab", name_, "--by", "pod", "--window", "0.2"});
  EXPECT_FALSE(stat.at("rows").as_array().empty());
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
