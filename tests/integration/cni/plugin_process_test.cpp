// SPDX-License-Identifier: Apache-2.0
// heddle-cni as a runtime runs it, against an agent that does what the test says.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <functional>
#include <memory>
#include <thread>

#include "api/node.pb.h"
#include "base/io/file.h"
#include "base/io/unix_message.h"
#include "child.h"

namespace heddle::cni::test {
namespace {

constexpr const char* prev_result =
    R"({ "cniVersion":"1.0.0", "z":1.50,"ips":[{"address":"10.0.0.2/24"}],"a":{} })";

// A network namespace that lives as long as this, without a file anywhere.
class PodNetns {
 public:
  PodNetns() {
    std::thread([this] {
      if (::unshare(CLONE_NEWNET) == 0) fd_ = Fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    }).join();
  }
  bool made() const { return static_cast<bool>(fd_); }
  std::string path() const {
    return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd_.get());
  }
  ino_t inode() const {
    struct stat info{};
    ::fstat(fd_.get(), &info);
    return info.st_ino;
  }

 private:
  Fd fd_;
};

// Serves one conversation after the other on a thread until destruction.
class ScriptedAgent {
 public:
  using Script = std::function<void(const Fd& connection)>;
  ScriptedAgent(const std::string& run_dir, Script script) : script_(std::move(script)) {
    make_directories(run_dir + "/agent").value();
    listener_ = listen_unix(run_dir + "/agent/cni.sock", 0600, false).value();
    thread_ = std::thread([this] {
      while (!ending_) {
        pollfd poll{listener_.get(), POLLIN, 0};
        if (::poll(&poll, 1, 20) <= 0) continue;
        auto connection = accept_unix(listener_, false);
        if (connection) script_(*connection);
      }
    });
  }
  ~ScriptedAgent() {
    ending_ = true;
    thread_.join();
  }

 private:
  Script script_;
  Fd listener_;
  std::atomic<bool> ending_ = false;
  std::thread thread_;
};

void answer(const Fd& connection, node::CniReply reply) {
  (void)receive_unix(connection.get());
  reply.set_answered(true);
  (void)send_unix(connection.get(), reply.SerializeAsString());
}

class PluginProcess : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(netns_.made()) << "needs root to make a network namespace"; }
  std::string config(const std::string& more = "", const std::string& version = "1.0.0") const {
    return R"({"cniVersion":")" + version + R"(","name":"net","type":"heddle-cni","runDir":")" +
           folder_.path() + "\"" + (more.empty() ? "" : "," + more) + ",\"prevResult\":" + prev_result + "}";
  }
  Variables variables(const std::string& command) const {
    return {{"CNI_COMMAND", command},
            {"CNI_CONTAINERID", "c1"},
            {"CNI_NETNS", netns_.path()},
            {"CNI_IFNAME", "eth0"},
            {"CNI_PATH", "/opt/cni/bin"},
            {"CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1;K8S_POD_UID=u-1"}};
  }
  std::unique_ptr<Child> start(const Variables& variables, const std::string& config) const {
    return std::make_unique<Child>(std::vector<std::string>{HEDDLE_CNI_BINARY}, variables, config);
  }
  Child::Ended run(const Variables& variables, const std::string& config) const {
    return start(variables, config)->finish();
  }
  static int code_of(const Child::Ended& ended) {
    boost::system::error_code ec;
    const auto parsed = boost::json::parse(ended.output, ec);
    if (ec || !parsed.is_object() || !parsed.get_object().contains("code")) return -1;
    return parsed.at("code").to_number<int>();
  }

  TemporaryFolder folder_;
  PodNetns netns_;
};

TEST_F(PluginProcess, HandsThePodToTheAgentAndItsNamespaceAsADescriptor) {
  node::CniRequest seen;
  ino_t inode = 0;
  std::size_t descriptors = 0;
  Child::Ended ended;
  {
    const ScriptedAgent agent(folder_.path(), [&](const Fd& connection) {
      const auto message = receive_unix(connection.get());
      if (!message) return;
      seen.ParseFromString(message->bytes);
      descriptors = message->fds.size();
      struct stat info{};
      if (descriptors == 1 && ::fstat(message->fds[0].get(), &info) == 0) inode = info.st_ino;
      node::CniReply reply;
      reply.set_answered(true);
      (void)send_unix(connection.get(), reply.SerializeAsString());
    });
    ended = run(variables("ADD"), config());
  }
  EXPECT_EQ(ended.status, 0) << ended.output;
  EXPECT_EQ(ended.output, std::string(prev_result) + "\n") << "prevResult as it came";
  EXPECT_EQ(seen.command(), node::CniRequest::ADD);
  EXPECT_EQ(seen.container_id(), "c1");
  EXPECT_EQ(seen.pod_namespace() + "/" + seen.pod_name() + "/" + seen.pod_uid(), "shop/web-1/u-1");
  ASSERT_EQ(seen.ips_size(), 1);
  EXPECT_EQ(seen.ips(0), "10.0.0.2");
  EXPECT_EQ(descriptors, 1u);
  EXPECT_EQ(inode, netns_.inode());
}

TEST_F(PluginProcess, PrintsTheAgentsRefusalAsJson) {
  node::CniReply reply;
  reply.set_code(101);
  reply.set_msg("the pod cannot be captured");
  reply.set_details("annotate it");
  const ScriptedAgent agent(folder_.path(), [&](const Fd& connection) { answer(connection, reply); });
  const auto ended = run(variables("ADD"), config());
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(code_of(ended), 101) << ended.output;
  EXPECT_NE(ended.output.find("annotate it"), std::string::npos);
}

TEST_F(PluginProcess, SaysTryAgainLaterWithoutAnAgent) {
  for (const char* command : {"ADD", "CHECK"}) {
    const auto ended = run(variables(command), config());
    EXPECT_EQ(code_of(ended), 11) << ended.output;
    EXPECT_NE(ended.status, 0);
    EXPECT_LT(ended.took, std::chrono::milliseconds(3'000));
  }
  const auto status = run(variables("STATUS"), config("", "1.1.0"));
  EXPECT_EQ(status.status, 0) << status.output;
}

TEST_F(PluginProcess, StartsWithoutAnAgentWhatIsCertainlyNotMeshed) {
  const auto pod = [&](const char* command, const char* ns) {
    Variables out = variables(command);
    out["CNI_ARGS"] =
        std::string("K8S_POD_NAME=p;K8S_POD_NAMESPACE=") + ns + ";IgnoreUnknown=1;K8S_POD_UID=u";
    return out;
  };
  const std::string silent =
      R"("runtimeConfig":{"io.kubernetes.cri.pod-annotations":{"kubernetes.io/config.source":"api"}})";
  // A node that has just booted: nothing is below the run folder yet.
  for (const char* ns : {"kube-system", "heddle"}) {
    const auto ended = run(pod("ADD", ns), config());
    EXPECT_EQ(ended.status, 0) << ended.output;
    EXPECT_EQ(ended.output, std::string(prev_result) + "\n");
    EXPECT_LT(ended.took, std::chrono::milliseconds(900)) << "it waited for the agent";
    EXPECT_EQ(run(pod("DEL", ns), config()).status, 0);
  }
  EXPECT_EQ(code_of(run(pod("ADD", "plain"), config(silent))), 11);

  make_directories(folder_.path() + "/agent").value();
  const std::string policy = folder_.path() + "/agent/cni-policy.json";
  ASSERT_TRUE(write_file_atomically(
      policy, R"({"version":1,"controlNamespace":"heddle","namespaces":{"plain":false,"shop":true}})", 0600));
  EXPECT_EQ(run(pod("ADD", "plain"), config(silent)).status, 0);
  EXPECT_EQ(run(pod("CHECK", "plain"), config(silent)).status, 0);
  EXPECT_EQ(code_of(run(pod("ADD", "plain"), config())), 11) << "the pod may ask for it";
  EXPECT_EQ(code_of(run(pod("ADD", "shop"), config(silent))), 11);
  EXPECT_EQ(code_of(run(pod("ADD", "new"), config(silent))), 11);

  ASSERT_TRUE(write_file_atomically(policy, R"({"version":1,"controlNames)", 0600));
  const auto broken = run(pod("ADD", "plain"), config(silent));
  EXPECT_EQ(code_of(broken), 11);
  EXPECT_NE(broken.output.find("not valid JSON"), std::string::npos) << broken.output;
}

TEST_F(PluginProcess, DeletesAtOnceWithoutAgentNamespaceOrPreviousResult) {
  Variables without = variables("DEL");
  without["CNI_NETNS"] = "";
  for (int i = 0; i < 3; ++i) {
    const auto ended =
        run(without, R"({"cniVersion":"1.0.0","name":"net","runDir":")" + folder_.path() + "\"}");
    EXPECT_EQ(ended.status, 0) << ended.output;
    EXPECT_EQ(ended.output, "");
    EXPECT_LT(ended.took, std::chrono::milliseconds(1'000));
  }
}

TEST_F(PluginProcess, WaitsOutAnAgentsUpgrade) {
  auto child = start(variables("ADD"), config());
  const ScriptedAgent agent(folder_.path(), [](const Fd& connection) { answer(connection, {}); });
  const auto ended = child->finish();
  EXPECT_EQ(ended.status, 0) << ended.output;
}

TEST_F(PluginProcess, GivesUpOnAnAgentThatHangs) {
  std::vector<Fd> held;
  const ScriptedAgent agent(folder_.path(),
                            [&](const Fd& connection) { held.push_back(connection.duplicate().value()); });
  const auto ended = run(variables("ADD"), config(R"("timeoutMs":150)"));
  EXPECT_EQ(code_of(ended), 11) << ended.output;
  EXPECT_GE(ended.took, std::chrono::milliseconds(150));
  EXPECT_LT(ended.took, std::chrono::milliseconds(2'000));
  const auto deleted = run(variables("DEL"), config(R"("timeoutMs":150)"));
  EXPECT_EQ(deleted.status, 0) << deleted.output;
}

TEST_F(PluginProcess, SaysTryAgainLaterWhenTheAgentDiesInTheMiddle) {
  const ScriptedAgent agent(folder_.path(),
                            [](const Fd& connection) { (void)receive_unix(connection.get()); });
  const auto ended = run(variables("ADD"), config());
  EXPECT_EQ(code_of(ended), 11) << ended.output;
}

TEST_F(PluginProcess, ReportsAnAnswerItCannotRead) {
  const ScriptedAgent agent(folder_.path(), [](const Fd& connection) {
    (void)receive_unix(connection.get());
    (void)send_unix(connection.get(), "\xff\xff\xff not protobuf");
  });
  const auto ended = run(variables("ADD"), config());
  EXPECT_EQ(code_of(ended), 110) << ended.output;
}

TEST_F(PluginProcess, LetsTheAgentSeeThatItWasKilledInTheMiddleOfAnAdd) {
  std::atomic<bool> asked = false;
  std::atomic<bool> noticed = false;
  const ScriptedAgent agent(folder_.path(), [&](const Fd& connection) {
    (void)receive_unix(connection.get());
    asked = true;
    noticed = !receive_unix(connection.get());  // the end of the conversation
  });
  auto child = start(variables("ADD"), config());
  ASSERT_TRUE(eventually([&] { return asked.load(); }));
  child->signal(SIGKILL);
  EXPECT_EQ(child->finish().status, 128 + SIGKILL);
  EXPECT_TRUE(eventually([&] { return noticed.load(); }));
}

TEST_F(PluginProcess, RefusesInputBeyondItsBound) {
  const auto ended = run(variables("ADD"), std::string(1024 * 1024 + 1, ' '));
  EXPECT_EQ(code_of(ended), 6) << ended.output;
}

TEST_F(PluginProcess, WritesALinePerOperationWhenAsked) {
  const ScriptedAgent agent(folder_.path(), [](const Fd& connection) { answer(connection, {}); });
  const std::string log = folder_.path() + "/cni.log";
  EXPECT_EQ(run(variables("ADD"), config("\"logFile\":\"" + log + "\"")).status, 0);
  EXPECT_EQ(run(variables("DEL"), config("\"logFile\":\"" + log + "\"")).status, 0);
  const auto text = read_file(log);
  ASSERT_TRUE(text);
  EXPECT_NE(text->find("INFO  cni: ADD done network=net container=c1 pod=shop/web-1"), std::string::npos)
      << *text;
  EXPECT_EQ(std::count(text->begin(), text->end(), '\n'), 2) << *text;
}

TEST_F(PluginProcess, ServesManyPodsAtOnce) {
  const ScriptedAgent agent(folder_.path(), [](const Fd& connection) { answer(connection, {}); });
  std::vector<std::unique_ptr<Child>> children;
  for (int i = 0; i < 50; ++i) children.push_back(start(variables("ADD"), config()));
  for (auto& child : children) {
    const auto ended = child->finish();
    EXPECT_EQ(ended.status, 0) << ended.output;
  }
}

// Process start included: a pod's start must not feel it.
TEST_F(PluginProcess, TakesLessThanTenMilliseconds) {
  const ScriptedAgent agent(folder_.path(), [](const Fd& connection) { answer(connection, {}); });
  std::vector<std::chrono::microseconds> took;
  for (int i = 0; i < 200; ++i) {
    const auto ended = run(variables("ADD"), config());
    ASSERT_EQ(ended.status, 0) << ended.output;
    took.push_back(ended.took);
  }
  std::sort(took.begin(), took.end());
  std::printf("ADD of the plugin alone: p50 %.2f ms, p99 %.2f ms, max %.2f ms\n",
              static_cast<double>(took[100].count()) / 1000, static_cast<double>(took[198].count()) / 1000,
              static_cast<double>(took.back().count()) / 1000);
  if (!HEDDLE_SANITIZED) {
    EXPECT_LT(took[100], std::chrono::milliseconds(10));
  }
}

}  // namespace
}  // namespace heddle::cni::test
