// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <signal.h>

#include "base/io/file.h"
#include "tests/integration/agent/fixture.h"
#include "tests/support/scripted_api/scripted_api.h"

namespace heddle::agent {

using test::ScriptedApi;

inline constexpr std::chrono::milliseconds long_patience{20'000};

// An agent with --source kubernetes and an API server that follows a script: a meshed namespace "shop",
// another "plain".
class ClusterTest : public AgentTest {
 protected:
  ClusterTest() {
    ::signal(SIGPIPE, SIG_IGN);
    write("ca.crt", authority_.root_pem());
    write("config", "{current-context: c, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:" +
                        std::to_string(api_.port()) +
                        "', tls-server-name: kubernetes, certificate-authority: ca.crt}}], users: [{name: u, "
                        "user: {token: secret}}], contexts: [{name: c, context: {cluster: c, user: u}}]}");
    put_namespace("shop", "enabled");
    put_namespace("plain", "");
  }

  void write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(write_file_atomically(run_ + "/" + name, text, 0600));
  }

  void put_namespace(const std::string& name, const std::string& inject) {
    api_.put(ScriptedApi::namespaces, name,
             R"({"metadata":{"name":")" + name + R"(","annotations":{)" +
                 (inject.empty() ? "" : R"("linkerd.io/inject":")" + inject + "\"") + "}}}");
  }

  void put_pod(const std::string& ns, const std::string& name, const std::string& ip,
               const std::string& annotations = "") {
    api_.put(
        ScriptedApi::pods, name,
        R"({"metadata":{"name":")" + name + R"(","namespace":")" + ns + R"(","uid":"uid-)" + name +
            R"(","annotations":{)" + annotations +
            R"(}},"spec":{"nodeName":"node-1","serviceAccountName":"robot"},"status":{"phase":"Running",)" +
            (ip.empty() ? R"("podIPs":[])" : R"("podIP":")" + ip + "\"") + "}}");
  }

  void start_agent(const std::vector<std::string>& more = {}) {
    std::vector<std::string> flags{"--source", "kubernetes", "--kubeconfig", run_ + "/config"};
    flags.insert(flags.end(), more.begin(), more.end());
    start(flags);
  }

  void await_watches() {
    ASSERT_TRUE(test::eventually(
        [this] {
          return api_.open_watches(ScriptedApi::pods) > 0 && api_.open_watches(ScriptedApi::namespaces) > 0;
        },
        long_patience));
  }

  node::CniReply add_pod(const TestPod& pod, const std::string& ns, const std::string& name,
                         const std::map<std::string, std::string>& told = {
                             {"kubernetes.io/config.seen", "x"}}) {
    auto asked = request(pod, node::CniRequest::ADD);
    asked.set_pod_namespace(ns);
    asked.set_pod_name(name);
    asked.set_pod_uid("uid-" + name);
    for (const auto& [key, value] : told) (*asked.mutable_pod_annotations())[key] = value;
    return call_agent(cni_socket(), asked, pod.netns.get());
  }

  bool state_has(const std::string& part) {
    return test::eventually([&] { return state().find(part) != std::string::npos; }, long_patience);
  }

  test::Authority authority_;
  ScriptedApi api_{authority_};
};

}  // namespace heddle::agent
