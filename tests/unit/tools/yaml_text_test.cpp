// SPDX-License-Identifier: Apache-2.0
#include "tools/output/yaml_text.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "tools/lab/yaml.h"

namespace heddle::tools {
namespace {

namespace json = boost::json;

TEST(YamlText, IsWhatKubectlUsersKnow) {
  const auto value = json::parse(
      R"({"nodes":[{"name":"n1","pods":[{"ns":"shop"},{"ns":"bank"}],"ips":["10.0.0.1","::1"]},{}],"empty":[],"n":0.25,"ok":true,"no":null})");
  EXPECT_EQ(yaml_text(value),
            "nodes:\n"
            "- name: n1\n"
            "  pods:\n"
            "  - ns: shop\n"
            "  - ns: bank\n"
            "  ips:\n"
            "  - \"10.0.0.1\"\n"
            "  - \"::1\"\n"
            "- {}\n"
            "empty: []\n"
            "\"n\": 0.25\n"
            "ok: true\n"
            "\"no\": null\n");
}

TEST(YamlText, ReadsBackAsWhatItWas) {
  const auto value = json::parse(
      R"({"a":["yes","No","1.5","0x1","~","","- x","a: b","#","line\nbreak","\u0001","ü",["x",["y",{}]],[],{"k":[[]]}],)"
      R"("b c":{"d":{"e":"true"}},"1":"x","on":"off"})");
  const auto back = parse_map(yaml_text(value), "test");
  ASSERT_TRUE(back) << back.error().message() << "\n" << yaml_text(value);
  EXPECT_EQ(json::serialize(*back), json::serialize(value)) << yaml_text(value);
}

}  // namespace
}  // namespace heddle::tools
