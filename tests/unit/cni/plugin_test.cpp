// SPDX-License-Identifier: Apache-2.0
#include "cni/plugin.h"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace heddle::cni {
namespace {

// An agent that always agrees; the table below is about what never gets to it.
MakeExchange agreeing(int& asked) {
  return [&asked](Command, const NetworkConfig&) -> Exchange {
    return [&asked](const node::CniRequest&, int) -> Result<node::CniReply> {
      ++asked;
      return node::CniReply();
    };
  };
}

MakeExchange absent() {
  return [](Command, const NetworkConfig&) -> Exchange {
    return [](const node::CniRequest&, int) -> Result<node::CniReply> {
      return make_errno(ECONNREFUSED, "gone");
    };
  };
}

std::string config_text(const std::string& version, bool prev_result = true) {
  return R"({"cniVersion":")" + version + R"(","name":"net","type":"heddle-cni")" +
         (prev_result
              ? R"(,"prevResult":{"cniVersion":")" + version + R"(","ips":[{"address":"10.0.0.2/24"}]})"
              : "") +
         R"(,"cni.dev/valid-attachments":[]})";
}

Variables variables_of(const std::string& command) {
  // The namespace of this very process, allowed by the override: there is always one.
  return {{"CNI_COMMAND", command},
          {"CNI_CONTAINERID", "c1"},
          {"CNI_NETNS", "/proc/self/ns/net"},
          {"CNI_IFNAME", "eth0"},
          {"CNI_NETNS_OVERRIDE", "1"}};
}

int code_of(const Answer& answer) {
  if (answer.exit_status == 0) return 0;
  return boost::json::parse(answer.output).at("code").to_number<int>();
}

// operation x version x input, each cell the code that the runtime sees (0: success).
TEST(Plugin, AnswersEveryOperationVersionAndInputAsTheSpecificationSays) {
  const std::vector<std::string> versions{"0.3.1", "0.4.0", "1.0.0", "1.1.0", "0.2.0", "3.0.0"};
  struct Row {
    std::string command;
    std::vector<int> codes;  // per version
  };
  const std::vector<Row> rows{{"ADD", {0, 0, 0, 0, 1, 1}},    {"DEL", {0, 0, 0, 0, 1, 1}},
                              {"CHECK", {1, 0, 0, 0, 1, 1}},  {"GC", {1, 1, 1, 0, 1, 1}},
                              {"STATUS", {1, 1, 1, 0, 1, 1}}, {"VERSION", {0, 0, 0, 0, 0, 0}},
                              {"NONE", {4, 4, 4, 4, 4, 4}}};
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < versions.size(); ++i) {
      int asked = 0;
      const Answer answer = run_plugin(variables_of(row.command), config_text(versions[i]), agreeing(asked));
      EXPECT_EQ(code_of(answer), row.codes[i]) << row.command << " " << versions[i] << ": " << answer.output;
      EXPECT_EQ(asked, row.codes[i] == 0 && row.command != "VERSION" ? 1 : 0)
          << row.command << " " << versions[i];
      const bool broken_ok = row.command == "VERSION";
      for (const char* broken : {"", "{", "[]", "{\"cniVersion\":\"1.1.0\",\"name\":3}"}) {
        const Answer refused = run_plugin(variables_of(row.command), broken, agreeing(asked));
        EXPECT_EQ(refused.exit_status == 0, broken_ok)
            << row.command << " " << broken << ": " << refused.output;
      }
    }
  }
}

TEST(Plugin, PrintsThePreviousResultOfAnAdd) {
  int asked = 0;
  const Answer answer = run_plugin(variables_of("ADD"), config_text("1.0.0"), agreeing(asked));
  EXPECT_EQ(answer.output, R"({"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]})"
                           "\n");
}

TEST(Plugin, RefusesTheNodesOwnNamespace) {
  int asked = 0;
  Variables variables = variables_of("ADD");
  variables.erase("CNI_NETNS_OVERRIDE");
  EXPECT_EQ(code_of(run_plugin(variables, config_text("1.0.0"), agreeing(asked))), 4);
  EXPECT_EQ(asked, 0);
}

TEST(Plugin, RefusesPathsThatAreNoNetworkNamespace) {
  int asked = 0;
  for (const char* path : {"/nonexistent/ns", "/proc/self/ns/mnt", "/etc/passwd", "/"}) {
    Variables variables = variables_of("ADD");
    variables["CNI_NETNS"] = path;
    EXPECT_EQ(code_of(run_plugin(variables, config_text("1.0.0"), agreeing(asked))), 4) << path;
    variables["CNI_COMMAND"] = "DEL";  // a DEL goes by the container id
    EXPECT_EQ(code_of(run_plugin(variables, config_text("1.0.0"), agreeing(asked))), 0) << path;
  }
  EXPECT_EQ(asked, 4);
}

TEST(Plugin, DeletesWithoutNamespacePreviousResultOrAgentAsOftenAsAsked) {
  Variables variables = variables_of("DEL");
  variables["CNI_NETNS"] = "";
  for (int i = 0; i < 3; ++i) {
    const Answer answer = run_plugin(variables, config_text("1.1.0", false), absent());
    EXPECT_EQ(answer.exit_status, 0) << answer.output;
    EXPECT_EQ(answer.output, "");
  }
}

TEST(Plugin, SaysTryAgainLaterInTheConfigurationsVersion) {
  const Answer answer = run_plugin(variables_of("ADD"), config_text("0.4.0"), absent());
  EXPECT_EQ(code_of(answer), 11);
  EXPECT_EQ(boost::json::parse(answer.output).at("cniVersion"), "0.4.0");
}

}  // namespace
}  // namespace heddle::cni
