// SPDX-License-Identifier: Apache-2.0
// Who asks: programs that give credentials, kubeconfigs that change, and where they are found.
#include "control/source/kubernetes/credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <optional>

#include "control/source/kubernetes/caller.h"
#include "control/source/kubernetes/find_access.h"
#include "scratch_folder.h"
#include "tests/support/scripted_api/scripted_api.h"

namespace heddle::source::kubernetes {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::ScriptedApi;
using ::testing::HasSubstr;

constexpr milliseconds long_enough = seconds(60);
const std::string exec_user =
    "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./plugin, args: [one, two], "
    "env: [{name: PLUGIN_WORD, value: abc}], installHint: get it from the shelf, provideClusterInfo: true}}";

// A program's answer, as a line of shell.
std::string prints(const std::string& status) {
  return R"(echo '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":)" +
         status + "}'\n";
}

class KubernetesCredentials : public ::testing::Test {
 protected:
  KubernetesCredentials() {
    folder_.put("ca.crt", authority_.root_pem());
    ::unsetenv("KUBECONFIG");
    ::unsetenv("KUBERNETES_SERVICE_HOST");
  }
  std::string config(const std::string& user) const {
    return "{current-context: c, clusters: [{name: c, cluster: {server: 'https://127.0.0.1:" +
           std::to_string(api_.port()) +
           "', tls-server-name: kubernetes, certificate-authority: ca.crt}}], users: [{name: u, user: " +
           user + "}], contexts: [{name: c, context: {cluster: c, user: u}}]}";
  }
  void configure(const std::string& user) const { folder_.put("config", config(user)); }
  // Each run of it leaves a line in the file "runs".
  void plugin(const std::string& body) const {
    folder_.put("plugin", "#!/bin/sh\ncd '" + folder_.path() + "'\necho run >> runs\n" + body);
    std::filesystem::permissions(folder_.file("plugin"), std::filesystem::perms::owner_all);
  }
  std::size_t runs() const { return folder_.read("runs").size() / 4; }
  void start() {
    const auto access = find_access(folder_.file("config"), "", false);
    ASSERT_TRUE(access) << access.error().message();
    caller_.emplace(*access);
  }
  Result<Answer> get(milliseconds deadline = long_enough) {
    Request request;
    request.target = "/api/v1/pods?limit=1";
    return caller_->call(request, deadline);
  }
  int status() {
    const auto answer = get();
    EXPECT_TRUE(answer) << answer.error().message();
    return answer ? answer->status : 0;
  }

  test::Authority authority_;
  ScriptedApi api_{authority_};
  test::ScratchFolder folder_;
  std::optional<Caller> caller_;
};

TEST_F(KubernetesCredentials, AsksAProgramOnceAndKeepsWhatItGave) {
  plugin("echo \"$1 $2 $PLUGIN_WORD\" > seen\necho \"$KUBERNETES_EXEC_INFO\" > info\n" +
         prints(R"({"token":"secret"})"));
  configure(exec_user);
  api_.require_token("secret");
  start();
  EXPECT_EQ(status(), 200);
  EXPECT_EQ(status(), 200);
  api_.cut_connections();
  EXPECT_EQ(status(), 200);
  EXPECT_EQ(runs(), 1U) << "also a new connection, for which the kubeconfig was read again, has it";
  EXPECT_EQ(folder_.read("seen"), "one two abc\n");
  const std::string info = folder_.read("info");
  EXPECT_THAT(info, HasSubstr(R"("interactive":false)"));
  EXPECT_THAT(info, HasSubstr(R"("server":"https:)"));
  EXPECT_THAT(info, HasSubstr(R"("tls-server-name":"kubernetes")"));
  EXPECT_THAT(info, HasSubstr(R"("certificate-authority-data":"LS0tLS1CRUdJTi)"));
}

TEST_F(KubernetesCredentials, AsksAgainWhenWhatItGaveHasExpired) {
  plugin(prints(R"({"token":"secret","expirationTimestamp":"2020-01-01T00:00:00Z"})"));
  configure(exec_user);
  api_.require_token("secret");
  start();
  EXPECT_EQ(status(), 200);
  EXPECT_EQ(status(), 200);
  EXPECT_EQ(runs(), 2U);
}

TEST_F(KubernetesCredentials, AsksAgainWhenTheServerRefusesWhatItGave) {
  plugin("word=$(cat word)\n" + prints(R"({"token":"'"$word"'"})"));
  folder_.put("word", "first");
  configure(exec_user);
  api_.require_token("first");
  start();
  EXPECT_EQ(status(), 200);
  folder_.put("word", "second");
  api_.require_token("second");
  EXPECT_EQ(status(), 401);
  EXPECT_EQ(status(), 200);
  EXPECT_EQ(runs(), 2U);
}

TEST_F(KubernetesCredentials, PresentsACertificateThatAProgramGives) {
  test::Authority clients("clients");
  test::Authority::Leaf leaf;
  leaf.names = {"client"};
  const auto pair = clients.issue(leaf);
  const auto escaped = [](const std::string& pem) {
    std::string out;
    for (const char c : pem) out += c == '\n' ? std::string("\\n") : std::string(1, c);
    return out;
  };
  folder_.put("out", R"({"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":)"
                     R"({"clientCertificateData":")" +
                         escaped(pair.certificate_pem) + R"(","clientKeyData":")" + escaped(pair.key_pem) +
                         "\"}}");
  plugin("cat out\n");
  configure(exec_user);
  api_.require_certificate_of(clients.root_pem());
  start();
  EXPECT_EQ(status(), 200);
}

TEST_F(KubernetesCredentials, TellsWhyAProgramGaveNothing) {
  configure(exec_user);
  const auto why = [&] {
    start();
    const auto answer = get();
    EXPECT_FALSE(answer);
    return answer ? std::string() : answer.error().message();
  };
  EXPECT_THAT(why(), ::testing::AllOf(HasSubstr("plugin': cannot be started"),
                                      HasSubstr("get it from the shelf"), HasSubstr("No such file")));
  folder_.remove("plugin");
  EXPECT_THAT((plugin("echo first >&2; echo log in again >&2; exit 3\n"), why()),
              HasSubstr("failed with exit code 3: log in again"));
  EXPECT_THAT((plugin("echo secret\n"), why()), HasSubstr("not one JSON object"));
  EXPECT_THAT((plugin("head -c 3000000 /dev/zero\n"), why()), HasSubstr("more than a credential can be"));
  EXPECT_THAT((plugin("kill -9 $$\n"), why()), HasSubstr("signal 9"));
}

TEST_F(KubernetesCredentials, EndsAProgramThatDoesNotEnd) {
  plugin("sleep 1000\n");
  ExecPlugin plugin;
  plugin.command = folder_.file("plugin");
  Credentials credentials(plugin, "", milliseconds(100));
  std::optional<Credentials::Given> given;
  while (!given) given = credentials.get();
  ASSERT_FALSE(*given);
  EXPECT_EQ(given->error().code, Errc::timeout);
}

TEST_F(KubernetesCredentials, KeepsTheDeadlineWhileAProgramRunsAndStopsWithoutIt) {
  plugin("sleep 1000\n");
  configure(exec_user);
  start();
  const auto late = get(milliseconds(50));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, Errc::timeout);
  const auto before = std::chrono::steady_clock::now();
  caller_.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - before, seconds(20));
}

TEST_F(KubernetesCredentials, TakesUpAKubeconfigThatChangedAtTheNextConnection) {
  configure("{token: first}");
  api_.require_token("first");
  start();
  EXPECT_EQ(status(), 200);
  configure("{token: second}");
  api_.require_token("second");
  api_.cut_connections();
  EXPECT_EQ(status(), 200);
  folder_.put("config", "{nonsense");
  api_.cut_connections();
  EXPECT_EQ(status(), 200) << "what it said before stays in use";
  configure("{token: third}");
  api_.require_token("third");
  EXPECT_EQ(status(), 401) << "the connection lives";
  EXPECT_EQ(status(), 200) << "a refusal ends it";
}

TEST_F(KubernetesCredentials, FindsTheConfigurationWherePeopleKeepIt) {
  std::filesystem::create_directories(folder_.file(".kube"));
  folder_.put(".kube/config",
              "{current-context: c, clusters: [{name: c, cluster: {server: 'https://home'}}], "
              "contexts: [{name: c, context: {cluster: c}}]}");
  folder_.put("other",
              "{current-context: c, clusters: [{name: c, cluster: {server: 'https://other'}}], "
              "contexts: [{name: c, context: {cluster: c}}]}");
  configure("{}");
  ::setenv("HOME", folder_.path().c_str(), 1);
  const auto host = [](const std::string& given) {
    const auto access = find_access(given, "", false);
    EXPECT_TRUE(access) << access.error().message();
    return access ? access->host : std::string();
  };
  EXPECT_EQ(host(""), "home");
  ::setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1", 1);
  ::setenv("KUBERNETES_SERVICE_PORT", "443", 1);
  EXPECT_EQ(host(""), "10.96.0.1") << "in a pod, the pod's own";
  ::setenv("KUBECONFIG", (folder_.file("none") + ":" + folder_.file("other")).c_str(), 1);
  EXPECT_EQ(host(""), "other");
  EXPECT_EQ(host(folder_.file("config")), "127.0.0.1");
}

}  // namespace
}  // namespace heddle::source::kubernetes
