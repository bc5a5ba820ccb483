// SPDX-License-Identifier: Apache-2.0
#include "cni/policy.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace heddle::cni {
namespace {

constexpr const char* written_by_the_agent =
    R"({"version":1,"controlNamespace":"mesh","excludedNamespaces":["kube-system","storage"],)"
    R"("otherNamespaces":true,"namespaces":{"plain":false,"shop":true}})";

enum class Said { nothing_passed, silent, enabled, ingress, disabled, nonsense };

NetworkConfig config_of(Said said) {
  NetworkConfig config;
  config.annotations_passed = said != Said::nothing_passed;
  const auto value = [&]() -> std::string {
    switch (said) {
      case Said::enabled:
        return "enabled";
      case Said::ingress:
        return "ingress";
      case Said::disabled:
        return "disabled";
      case Said::nonsense:
        return "yes, please";
      default:
        return "";
    }
  }();
  if (!value.empty()) config.pod_annotations["linkerd.io/inject"] = value;
  return config;
}

Result<Policy> no_policy() {
  return make_error(Errc::not_found, "cannot open it");
}

struct Row {
  const char* ns;
  Said said;
  bool passes;
};

void expect(const Result<Policy>& policy, const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    const auto verdict = decide_without_agent({row.ns, "p", "u"}, config_of(row.said), policy);
    EXPECT_EQ(verdict.passes, row.passes)
        << row.ns << " said " << static_cast<int>(row.said) << ": " << verdict.reason;
    EXPECT_FALSE(verdict.reason.empty());
  }
}

TEST(Policy, DecidesByNamespaceAndAnnotationsWithTheAgentsLastWord) {
  const auto policy = parse_policy(written_by_the_agent);
  ASSERT_TRUE(policy) << policy.error().message();
  expect(policy, {{"mesh", Said::nothing_passed, true},  // heddle's own
                  {"mesh", Said::enabled, true},
                  {"heddle", Said::silent, false},  // not where this one lives
                  {"kube-system", Said::nothing_passed, true},
                  {"kube-system", Said::enabled, true},  // excluded means never
                  {"storage", Said::silent, true},
                  {"plain", Said::silent, true},
                  {"plain", Said::disabled, true},
                  {"plain", Said::enabled, false},  // the pod's word goes before its namespace's
                  {"plain", Said::ingress, false},
                  {"plain", Said::nonsense, false},
                  {"plain", Said::nothing_passed, false},  // it may ask for it
                  {"shop", Said::silent, false},
                  {"shop", Said::disabled, true},
                  {"shop", Said::nothing_passed, false},
                  {"new", Said::silent, false},  // made while the agent was away
                  {"new", Said::disabled, true},
                  {"", Said::silent, false}});  // the runtime names no pod
}

TEST(Policy, StartsWhatTheAgentDependsOnWhenThereIsNoWordOfIt) {
  expect(no_policy(), {{"heddle", Said::nothing_passed, true},
                       {"heddle", Said::silent, true},
                       {"kube-system", Said::nothing_passed, true},
                       {"kube-system", Said::silent, true},
                       {"plain", Said::disabled, true},
                       {"plain", Said::silent, false},
                       {"shop", Said::enabled, false},
                       {"", Said::nothing_passed, false}});
}

TEST(Policy, TakesTheConfigurationsNamespacesWhenThereIsNoWordOfTheAgent) {
  NetworkConfig config;
  config.control_namespace = "mesh";
  config.excluded_namespaces = {"storage"};
  EXPECT_TRUE(decide_without_agent({"mesh", "p", "u"}, config, no_policy()).passes);
  EXPECT_TRUE(decide_without_agent({"storage", "p", "u"}, config, no_policy()).passes);
  EXPECT_FALSE(decide_without_agent({"heddle", "p", "u"}, config, no_policy()).passes);
  EXPECT_FALSE(decide_without_agent({"kube-system", "p", "u"}, config, no_policy()).passes);
}

TEST(Policy, KnowsAgentsWithoutASourceOfNamespaces) {
  const auto policy = parse_policy(R"({"version":1,"controlNamespace":"heddle","otherNamespaces":false})");
  ASSERT_TRUE(policy);
  expect(policy, {{"any", Said::silent, true},
                  {"any", Said::enabled, false},
                  {"any", Said::nothing_passed, false},
                  {"kube-system", Said::nothing_passed, false}});  // this agent excludes nothing
}

TEST(Policy, NamesWhatItDidNotKnow) {
  const auto verdict = decide_without_agent({"shop", "p", "u"}, config_of(Said::silent), no_policy());
  EXPECT_NE(verdict.reason.find("shop"), std::string::npos) << verdict.reason;
  EXPECT_NE(verdict.reason.find("cannot open it"), std::string::npos) << verdict.reason;
}

TEST(Policy, RefusesWhatNoAgentWrote) {
  for (const char* text : {"", "{", "[]", "{}", R"({"version":"1","controlNamespace":"h"})",
                           R"({"version":1})", R"({"version":1,"controlNamespace":3})",
                           R"({"version":1,"controlNamespace":"h","namespaces":["shop"]})",
                           R"({"version":1,"controlNamespace":"h","namespaces":{"shop":"no"}})",
                           R"({"version":1,"controlNamespace":"h","excludedNamespaces":"kube-system"})",
                           R"({"version":1,"controlNamespace":"h","excludedNamespaces":[1]})",
                           R"({"version":1,"controlNamespace":"h","otherNamespaces":"no"})",
                           R"({"version":1,"controlNamespace":"h"} {})"}) {
    const auto parsed = parse_policy(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Errc::protocol) << text;
  }
  const std::string whole = written_by_the_agent;
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(parse_policy(whole.substr(0, length))) << "cut off after " << length << " bytes";
  }
  const auto newer = parse_policy(R"({"version":2,"controlNamespace":"h"})");
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().code, Errc::unsupported);
  const auto large = parse_policy(std::string(max_policy_bytes + 1, ' '));
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, Errc::exhausted);
}

TEST(Policy, IgnoresKeysThatALaterAgentMayAdd) {
  EXPECT_TRUE(parse_policy(R"({"version":1,"controlNamespace":"h","more":[1,{}]})"));
}

}  // namespace
}  // namespace heddle::cni
