// SPDX-License-Identifier: Apache-2.0
// From a proxy's CSR to a certificate that a real control plane signed.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io/file.h"
#include "base/io/netns.h"
#include "tests/integration/agent/fixture.h"

namespace heddle::agent {
namespace {

class CertificatesTest : public AgentTest {
 protected:
  CertificatesTest() {
    control_ = run_ + "/control";
    tokens_ = run_ + "/tokens";
    ::mkdir(tokens_.c_str(), 0700);
    // An address of its own: on 127.0.0.1 the end of another test's connection may have taken the port.
    const auto pid = static_cast<unsigned>(::getpid());
    const std::string host = "127." + std::to_string(64 + (pid >> 16) % 64) + "." +
                             std::to_string((pid >> 8) % 256) + "." + std::to_string(pid % 256) + ":";
    for (int port = 8080; port < 8083; ++port) addresses_.push_back(host + std::to_string(port));
    write("tokens/node-1.token", "s3cret-of-node-1");
    write("node.token", "node-1:s3cret-of-node-1");
    write("objects/web.yaml",
          "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop, uid: u1, annotations: "
          "{linkerd.io/inject: "
          "enabled}}\nspec: {nodeName: node-1, serviceAccountName: web}\nstatus: {podIP: 10.99.0.3, phase: "
          "Running}\n");
  }
  ~CertificatesTest() override { stop_control(); }

  void write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(write_file_atomically(run_ + "/" + name, text, 0600));
  }

  void start_control() {
    control_pid_ = ::fork();
    if (control_pid_ == 0) {
      const int out = ::open((run_ + "/control.log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
      ::dup2(out, 1);
      ::dup2(out, 2);
      const std::string source = "folder:" + objects_;
      ::execl(HEDDLE_CONTROL_PROGRAM, HEDDLE_CONTROL_PROGRAM, "--source", source.c_str(), "--state-dir",
              control_.c_str(), "--identity-address", addresses_[0].c_str(), "--destination-address",
              addresses_[1].c_str(), "--admin-address", addresses_[2].c_str(), "--node-tokens",
              tokens_.c_str(), static_cast<char*>(nullptr));
      ::_exit(127);
    }
  }

  void stop_control() {
    if (control_pid_ <= 0) return;
    ::kill(control_pid_, SIGKILL);
    ::waitpid(control_pid_, nullptr, 0);
    control_pid_ = -1;
  }

  std::string control_log() {
    auto text = read_file(run_ + "/control.log");
    return text ? *text : "";
  }

  void start_agent() {
    start({"--source", "folder:" + objects_, "--identity-address", addresses_[0], "--trust-anchors",
           control_ + "/trust-anchors.pem", "--token-file", run_ + "/node.token"});
  }

  std::string make_csr(const std::string& name) {
    const Fd here = *open_netns("/proc/thread-self/ns/net");
    test::must_run_in(here.get(),
                      "cd " + run_ +
                          " && openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "
                          "key.pem -subj / -addext subjectAltName=DNS:" +
                          name + " -outform DER -out csr.der 2>/dev/null");
    auto csr = read_file(run_ + "/csr.der");
    return csr ? *csr : "";
  }

  std::optional<node::ToProxy::Certificate> certify(FakeProxy& proxy, const std::string& name,
                                                    std::chrono::milliseconds limit) {
    node::FromProxy request;
    request.mutable_certify_request()->set_identity(name);
    request.mutable_certify_request()->set_pod_id(1);
    request.mutable_certify_request()->set_csr(make_csr(name));
    proxy.send(request);
    std::optional<node::ToProxy::Certificate> out;
    test::eventually(
        [&] {
          for (const auto& message : proxy.messages()) {
            if (message.has_certificate()) out = message.certificate();
          }
          return out.has_value();
        },
        limit);
    return out;
  }

  void add_web() {
    web_ = make_pod();
    auto asked = request(web_, node::CniRequest::ADD);
    asked.set_pod_namespace("shop");
    asked.set_pod_name("web");
    asked.set_pod_uid("u1");
    ASSERT_EQ(call_agent(cni_socket(), asked, web_.netns.get()).code(), 0u);
  }

  static constexpr const char* web_identity = "web.shop.serviceaccount.identity.heddle.cluster.local";
  std::string control_, tokens_;
  std::vector<std::string> addresses_;
  TestPod web_;
  pid_t control_pid_ = -1;
};

TEST_F(CertificatesTest, AreIssuedForAPodOfThisNodeOnceControlIsThere) {
  start_agent();
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  add_web();
  // Asked before control was ever started: neither its address nor its trust anchors exist yet.
  std::thread later([this] {
    test::eventually([this] { return log().find("certificate delayed") != std::string::npos; });
    start_control();
  });
  const auto certificate = certify(proxy, web_identity, std::chrono::milliseconds(25'000));
  later.join();
  ASSERT_TRUE(certificate) << control_log();
  EXPECT_EQ(certificate->error(), "") << control_log();
  EXPECT_EQ(certificate->identity(), web_identity);
  EXPECT_GT(certificate->leaf().size(), 200u);
  EXPECT_GT(certificate->valid_until_unix(), static_cast<std::uint64_t>(::time(nullptr)));
  EXPECT_EQ(log().find("s3cret"), std::string::npos) << "a token in the log";
}

TEST_F(CertificatesTest, AreRefusedWithTheReasonWhenTheTokenIsWrong) {
  write("node.token", "node-1:wrong");
  start_control();
  start_agent();
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  add_web();
  const auto certificate = certify(proxy, web_identity, std::chrono::milliseconds(25'000));
  ASSERT_TRUE(certificate) << control_log();
  EXPECT_NE(certificate->error(), "");
  EXPECT_EQ(certificate->leaf(), "");
  EXPECT_NE(log().find("certificate not issued"), std::string::npos);
}

}  // namespace
}  // namespace heddle::agent
