// SPDX-License-Identifier: Apache-2.0
// Certificates are asked for with the pod's own token.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io/netns.h"
#include "tests/integration/agent/cluster_fixture.h"

namespace heddle::agent {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ClusterTokensTest : public ClusterTest {
 protected:
  ClusterTokensTest() {
    ::mkdir((run_ + "/tokens").c_str(), 0700);
    // What this control takes for proof; the API server's answers say what the pod's token is.
    write("tokens/node-1.token", "s3cret-of-the-pod");
    write("node.token", "node-1:s3cret-of-the-agent");
    write(
        "objects/web.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop, uid: uid-web, annotations: "
        "{linkerd.io/inject: enabled}}\nspec: {nodeName: node-1, serviceAccountName: robot}\nstatus: {podIP: "
        "10.99.0.3, phase: Running}\n");
    const auto pid = static_cast<unsigned>(::getpid());
    const std::string host = "127." + std::to_string(128 + (pid >> 16) % 64) + "." +
                             std::to_string((pid >> 8) % 256) + "." + std::to_string(pid % 256) + ":";
    identity_ = host + "8080";
    start_control(host);
    put_pod("shop", "web", "");
    start_agent({"--identity-address", identity_, "--trust-anchors", run_ + "/control/trust-anchors.pem",
                 "--token-file", run_ + "/node.token", "--pod-tokens"});
    await_watches();
    pod_ = make_pod();
    EXPECT_EQ(add_pod(pod_, "shop", "web").code(), 0U);
  }
  ~ClusterTokensTest() override {
    ::kill(control_pid_, SIGKILL);
    ::waitpid(control_pid_, nullptr, 0);
  }

  void start_control(const std::string& host) {
    const std::vector<std::string> arguments{
        HEDDLE_CONTROL_PROGRAM, "--source",      "folder:" + objects_,    "--state-dir", run_ + "/control",
        "--identity-address",   identity_,       "--destination-address", host + "8081", "--admin-address",
        host + "8082",          "--node-tokens", run_ + "/tokens"};
    std::vector<char*> raw;
    for (const auto& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
    raw.push_back(nullptr);
    control_pid_ = ::fork();
    if (control_pid_ == 0) {
      const int out = ::open((run_ + "/control.log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
      ::dup2(out, 1);
      ::dup2(out, 2);
      ::execv(raw[0], raw.data());
      ::_exit(127);
    }
  }

  void grant(const std::string& token) {
    api_.answer_next(
        "/serviceaccounts/robot/token",
        {"201 Created", "",
         R"({"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","metadata":{},"spec":)"
         R"({"audiences":["identity.heddle.io"],"expirationSeconds":3600},"status":{"token":")" +
             token + R"(","expirationTimestamp":"2030-01-01T00:00:00Z"}})"});
  }

  // The n-th certificate that the proxy gets.
  std::optional<node::ToProxy::Certificate> certify(FakeProxy& proxy, std::size_t n) {
    const Fd here = *open_netns("/proc/thread-self/ns/net");
    test::must_run_in(here.get(), "cd " + run_ +
                                      " && openssl req -new -newkey ec -pkeyopt "
                                      "ec_paramgen_curve:P-256 -nodes -keyout key.pem -subj / -addext "
                                      "subjectAltName=DNS:" +
                                      std::string(name) + " -outform DER -out csr.der 2>/dev/null");
    node::FromProxy request;
    request.mutable_certify_request()->set_identity(name);
    request.mutable_certify_request()->set_pod_id(1);
    request.mutable_certify_request()->set_csr(*read_file(run_ + "/csr.der"));
    proxy.send(request);
    std::vector<node::ToProxy::Certificate> got;
    test::eventually(
        [&] {
          got.clear();
          for (const auto& message : proxy.messages()) {
            if (message.has_certificate()) got.push_back(message.certificate());
          }
          return got.size() >= n;
        },
        std::chrono::milliseconds(40'000));
    return got.size() >= n ? std::optional(got[n - 1]) : std::nullopt;
  }

  static constexpr const char* name = "robot.shop.serviceaccount.identity.heddle.cluster.local";
  std::string identity_;
  TestPod pod_;
  pid_t control_pid_ = -1;
};

TEST_F(ClusterTokensTest, ThePodsTokenProvesItIsBoundToThePodAndIsKept) {
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  grant("node-1:s3cret-of-the-pod");
  const auto first = certify(proxy, 1);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->error(), "");
  EXPECT_GT(first->leaf().size(), 200U);
  const auto second = certify(proxy, 2);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->error(), "");
  const auto asked = api_.changes("/token");
  ASSERT_EQ(asked.size(), 1U) << "a token is kept while it is young";
  EXPECT_EQ(asked[0].method, "POST");
  EXPECT_EQ(asked[0].target, "/api/v1/namespaces/shop/serviceaccounts/robot/token");
  EXPECT_THAT(asked[0].body, HasSubstr(R"("kind":"Pod","name":"web","uid":"uid-web")"));
  EXPECT_THAT(asked[0].body, HasSubstr(R"("audiences":["identity.heddle.io"])"));
  EXPECT_THAT(log(), Not(HasSubstr("s3cret")));
  EXPECT_THAT(state(), Not(HasSubstr("s3cret"))) << "tokens live in memory only";
}

TEST_F(ClusterTokensTest, WhatIsRefusedIsToldWithTheReason) {
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  api_.answer_next("/token", {"403 Forbidden", "", "{}"});
  const auto refused = certify(proxy, 1);
  ASSERT_TRUE(refused);
  EXPECT_THAT(refused->error(), HasSubstr("serviceaccounts/token"));
  // A busy API server is asked again.
  api_.answer_next("/token", {"429 Too Many Requests", "", "{}"});
  grant("node-1:s3cret-of-the-pod");
  const auto later = certify(proxy, 2);
  ASSERT_TRUE(later);
  EXPECT_EQ(later->error(), "");
}

}  // namespace
}  // namespace heddle::agent
