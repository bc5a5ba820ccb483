// SPDX-License-Identifier: Apache-2.0
#include "cni/plugin.h"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace heddle::cni {
namespace {

Result<Policy> no_policy(const NetworkConfig&) {
  return make_errno(ENOENT, "cannot open the policy");
}

// An agent that always agrees; the table below is about what never gets to it.
Surroundings agreeing(int& asked) {
  return {[&asked](Command, const NetworkConfig&, Patience) -> Exchange {
            return [&asked](const node::CniRequest&, int) -> Result<node::CniReply> {
              ++asked;
              return node::CniReply();
            };
          },
          no_policy};
}

// Counts how often it was looked for, and waited for.
struct Looks {
  int once = 0;
  int patiently = 0;
};
Surroundings failing(const Error& error, Looks& looks, const Result<Policy>& policy = no_policy({})) {
  return {[&looks, error](Command, const NetworkConfig&, Patience patience) -> Exchange {
            return [&looks, error, patience](const node::CniRequest&, int) -> Result<node::CniReply> {
              ++(patience == Patience::none ? looks.once : looks.patiently);
              return error;
            };
          },
          [policy](const NetworkConfig&) { return policy; }};
}

Surroundings absent() {
  static Looks looks;
  return failing(make_errno(ECONNREFUSED, "gone"), looks);
}

Surroundings answering(std::uint32_t code, const Result<Policy>& policy = no_policy({})) {
  return {[code](Command, const NetworkConfig&, Patience) -> Exchange {
            return [code](const node::CniRequest&, int) -> Result<node::CniReply> {
              node::CniReply reply;
              reply.set_code(code);
              reply.set_msg("the agent's words");
              return reply;
            };
          },
          [policy](const NetworkConfig&) { return policy; }};
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

Variables pod_in(const std::string& ns, const std::string& command) {
  Variables variables = variables_of(command);
  variables["CNI_ARGS"] = "K8S_POD_NAME=p;K8S_POD_UID=u;IgnoreUnknown=1;K8S_POD_NAMESPACE=" + ns;
  return variables;
}

TEST(Plugin, StartsAPodThatIsCertainlyNotMeshedAtOnceWithoutAnAgent) {
  for (const Error& error :
       {make_errno(ENOENT), make_errno(ECONNREFUSED), make_error(Errc::timeout), make_error(Errc::closed),
        make_error(Errc::protocol), make_error(Errc::invalid_argument)}) {
    for (const char* command : {"ADD", "CHECK"}) {
      Looks looks;
      const Answer answer =
          run_plugin(pod_in("kube-system", command), config_text("1.0.0"), failing(error, looks));
      EXPECT_EQ(answer.exit_status, 0) << error.message() << ": " << answer.output;
      EXPECT_EQ(answer.output.empty(), std::string(command) == "CHECK");
      EXPECT_EQ(looks.once, 1);
      EXPECT_EQ(looks.patiently, 0) << "it waited for an agent that it does not need";
    }
  }
}

TEST(Plugin, LetsAPodThatMayBeMeshedWaitForAnAgentAndSaysWhyAndWhatHelps) {
  Looks looks;
  const Answer answer =
      run_plugin(pod_in("shop", "ADD"), config_text("1.0.0"), failing(make_errno(ECONNREFUSED), looks));
  EXPECT_EQ(code_of(answer), 11) << answer.output;
  EXPECT_EQ(looks.patiently, 1) << "an upgrade of the agent was not waited out";
  const std::string details(boost::json::parse(answer.output).at("details").as_string());
  EXPECT_NE(details.find("does not pass the pod's annotations"), std::string::npos) << details;
  EXPECT_NE(details.find("linkerd.io/inject: disabled"), std::string::npos) << details;
  EXPECT_NE(details.find("kubectl -n heddle get pods"), std::string::npos) << details;
}

TEST(Plugin, TakesAnAgentThatCannotServeForAnAbsentOne) {
  for (const std::uint32_t code : {6u, 11u, 50u}) {
    EXPECT_EQ(code_of(run_plugin(pod_in("heddle", "ADD"), config_text("1.0.0"), answering(code))), 0) << code;
    EXPECT_EQ(code_of(run_plugin(pod_in("shop", "ADD"), config_text("1.0.0"), answering(code))),
              static_cast<int>(code));
  }
  // What the agent decides holds.
  EXPECT_EQ(code_of(run_plugin(pod_in("heddle", "ADD"), config_text("1.0.0"), answering(101))), 101);
  // A pod that started while the agent was away is not held against it afterwards.
  EXPECT_EQ(code_of(run_plugin(pod_in("heddle", "CHECK"), config_text("1.0.0"), answering(3))), 0);
  EXPECT_EQ(code_of(run_plugin(pod_in("shop", "CHECK"), config_text("1.0.0"), answering(3))), 3);
}

TEST(Plugin, BelievesWhatTheAgentLeftBesideItsSocket) {
  Policy policy;
  policy.control_namespace = "mesh";
  policy.namespaces = {{"shop", true}, {"plain", false}};
  const std::string silent = R"({"cniVersion":"1.0.0","name":"net","type":"heddle-cni","prevResult":{},)"
                             R"("runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"a/b":"c"}}})";
  const auto code = [&](const char* ns) {
    Looks looks;
    return code_of(run_plugin(pod_in(ns, "ADD"), silent, failing(make_errno(ECONNREFUSED), looks, policy)));
  };
  EXPECT_EQ(code("plain"), 0);
  EXPECT_EQ(code("mesh"), 0);
  EXPECT_EQ(code("shop"), 11);
  EXPECT_EQ(code("new"), 11);
}

TEST(Plugin, NeverMakesANodeNotReadyForWantOfAnAgent) {
  EXPECT_EQ(run_plugin(variables_of("STATUS"), config_text("1.1.0"), absent()).exit_status, 0);
  EXPECT_EQ(run_plugin(variables_of("STATUS"), config_text("1.1.0"), answering(50)).exit_status, 0);
}

TEST(Plugin, DeletesWhateverTheAgentSays) {
  for (const std::uint32_t code : {3u, 6u, 11u, 50u, 100u, 103u}) {
    EXPECT_EQ(run_plugin(pod_in("shop", "DEL"), config_text("1.0.0"), answering(code)).exit_status, 0)
        << code;
  }
}

}  // namespace
}  // namespace heddle::cni
