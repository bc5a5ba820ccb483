// SPDX-License-Identifier: Apache-2.0
#include "cni/environment.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace heddle::cni {
namespace {

Variables complete(const std::string& command) {
  return {{"CNI_COMMAND", command},
          {"CNI_CONTAINERID", "c0ffee"},
          {"CNI_NETNS", "/run/netns/p"},
          {"CNI_IFNAME", "eth0"}};
}

TEST(Environment, AcceptsEveryCommandOfTheSpecification) {
  for (const char* command : {"ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"}) {
    const auto parsed = parse_environment(complete(command));
    ASSERT_TRUE(parsed) << command;
    EXPECT_EQ(name_of(parsed->command), command);
  }
}

TEST(Environment, RequiresWhatTheSpecificationRequiresOfEachCommand) {
  struct Row {
    const char* command;
    const char* without;
    bool accepted;
  };
  const std::vector<Row> rows{
      {"ADD", "CNI_CONTAINERID", false},   {"ADD", "CNI_NETNS", false},     {"ADD", "CNI_IFNAME", false},
      {"CHECK", "CNI_CONTAINERID", false}, {"CHECK", "CNI_NETNS", false},   {"CHECK", "CNI_IFNAME", false},
      {"DEL", "CNI_CONTAINERID", false},   {"DEL", "CNI_NETNS", true},      {"DEL", "CNI_IFNAME", false},
      {"GC", "CNI_CONTAINERID", true},     {"GC", "CNI_NETNS", true},       {"GC", "CNI_IFNAME", true},
      {"STATUS", "CNI_CONTAINERID", true}, {"VERSION", "CNI_IFNAME", true}, {"ADD", "CNI_COMMAND", false}};
  for (const Row& row : rows) {
    for (const bool empty : {false, true}) {
      Variables variables = complete(row.command);
      if (empty) {
        variables[row.without] = "";
      } else {
        variables.erase(row.without);
      }
      const auto parsed = parse_environment(variables);
      EXPECT_EQ(parsed.has_value(), row.accepted) << row.command << " without " << row.without;
      if (!parsed) {
        EXPECT_EQ(parsed.error().code, 4u);
        EXPECT_NE(parsed.error().msg.find(row.without), std::string::npos) << parsed.error().msg;
        EXPECT_FALSE(parsed.error().details.empty());
      }
    }
  }
}

TEST(Environment, RefusesMalformedValuesWithCode4) {
  const std::vector<std::pair<const char*, std::string>> rows{
      {"CNI_COMMAND", "add"},
      {"CNI_COMMAND", "ADD "},
      {"CNI_COMMAND", "REMOVE"},
      {"CNI_CONTAINERID", "../../etc"},
      {"CNI_CONTAINERID", "-x"},
      {"CNI_CONTAINERID", "a b"},
      {"CNI_CONTAINERID", "a\nb"},
      {"CNI_CONTAINERID", std::string(2000, 'a')},
      {"CNI_IFNAME", "."},
      {"CNI_IFNAME", ".."},
      {"CNI_IFNAME", "eth/0"},
      {"CNI_IFNAME", "eth:0"},
      {"CNI_IFNAME", "e th"},
      {"CNI_IFNAME", "sixteen-bytes-xx"},
      {"CNI_NETNS", std::string(5000, '/')},
      {"CNI_ARGS", "novalue"},
      {"CNI_ARGS", "=x"},
      {"CNI_ARGS", "K8S_POD_NAME=" + std::string(254, 'n')}};
  for (const auto& [key, value] : rows) {
    Variables variables = complete("ADD");
    variables[key] = value;
    const auto parsed = parse_environment(variables);
    ASSERT_FALSE(parsed) << key << "=" << value;
    EXPECT_EQ(parsed.error().code, 4u);
    EXPECT_FALSE(parsed.error().details.empty());
  }
}

TEST(Environment, FindsThePodInCniArgsInAnyOrderAmongUnknownKeys) {
  for (const char* args :
       {"IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_UID=u-1",
        "K8S_POD_UID=u-1;X=;K8S_POD_NAME=web-1;K8S_POD_INFRA_CONTAINER_ID=f;K8S_POD_NAMESPACE=shop",
        ";;K8S_POD_NAME=web-1;K8S_POD_UID=u-1;K8S_POD_NAMESPACE=shop;"}) {
    const auto pod = parse_cni_args(args);
    ASSERT_TRUE(pod) << args;
    EXPECT_EQ(pod->name_space, "shop");
    EXPECT_EQ(pod->name, "web-1");
    EXPECT_EQ(pod->uid, "u-1");
  }
}

TEST(Environment, KeepsEverythingAfterTheFirstEqualsSign) {
  const auto pod = parse_cni_args("K8S_POD_NAME=a=b");
  ASSERT_TRUE(pod);
  EXPECT_EQ(pod->name, "a=b");
}

TEST(Environment, LeavesThePodUnnamedWithoutArgs) {
  const auto pod = parse_cni_args("");
  ASSERT_TRUE(pod);
  EXPECT_EQ(pod->name + pod->name_space + pod->uid, "");
}

}  // namespace
}  // namespace heddle::cni
