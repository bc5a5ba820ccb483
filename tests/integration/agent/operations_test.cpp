// SPDX-License-Identifier: Apache-2.0
// What operators see and cause: pages, limits, full disks, the choice of interception.
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "base/io/file.h"
#include "base/io/netns.h"
#include "tests/integration/agent/fixture.h"

namespace heddle::agent {
namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_F(AgentTest, MakesTheFolderOfAProxyThatNeverWasRoot) {
  start();
  struct stat status{};
  ASSERT_EQ(::stat((run_ + "/proxy").c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, 65534u);
  EXPECT_EQ(status.st_gid, 65534u);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
}

TEST_F(AgentTest, ShowsItsStateVerificationAndMetrics) {
  start();
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  const TestPod pod = make_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  EXPECT_EQ(page("/ready"), "ready\n");
  EXPECT_EQ(page("/live"), "live\n");
  const std::string shown = page("/state");
  EXPECT_TRUE(has(shown, "\"name\":\"" + pod.id + "\"")) << shown;
  EXPECT_TRUE(has(shown, "\"proxy\":\"acknowledged\"")) << shown;
  EXPECT_TRUE(has(shown, "\"hook\":\"connect4\"")) << shown;
  EXPECT_TRUE(has(shown, "\"state\":\"active\"")) << shown;
  EXPECT_TRUE(has(page("/verify"), "\"ok\":true,\"proxy_active\":true"));
  const std::string metrics = page("/metrics");
  for (const char* part :
       {"heddle_agent_pods{mode=\"ebpf\"} 1\n", "heddle_agent_enrolments_total{result=\"ok\"} 1\n",
        "heddle_agent_enrolment_duration_seconds_count 1\n", "heddle_agent_proxies{state=\"active\"} 1\n",
        "heddle_agent_cni_requests_total{command=\"ADD\",code=\"0\"} 1\n",
        "heddle_interception_verdicts_total{pod_id=\"1\"", "heddle_agent_build_info{version="}) {
    EXPECT_TRUE(has(metrics, part)) << part << "\n" << metrics;
  }
  EXPECT_TRUE(has(page("/loglevel", "-d warn"), "warn"));
  EXPECT_TRUE(has(page("/loglevel", "-d loud"), "trace, debug"));
  EXPECT_TRUE(has(page("/nonsense"), "/state"));
}

TEST_F(AgentTest, AnswersProbesWhileSomebodyHoldsAllItsConnections) {
  start({"--http-address", "127.0.0.1:4195"});
  const Fd here = *open_netns("/proc/thread-self/ns/net");
  std::vector<Fd> held;
  for (int i = 0; i < 200; ++i) {
    held.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(test::connect_to(held.back(), "127.0.0.1:4195"), 0);
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(test::run_in(here.get(), "curl -s -m 5 http://127.0.0.1:4195/live").output, "live\n");
  }
}

TEST_F(AgentTest, ReportsConnectionsThatAHookDropped) {
  start();
  const TestPod pod = make_wired_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  // An address that nobody told heddle of is nobody's: fail closed.
  const std::string unknown = pod.ip + "09";
  test::must_run_in(pod.netns.get(), "ip addr add " + unknown + "/24 dev eth0");
  const test::SocketMaker client(cgroup_.child("other"), neighbour_.get());
  Fd socket = client.make(AF_INET);
  EXPECT_NE(test::connect_to(socket, unknown + ":80", std::chrono::milliseconds(300)), 0);
  EXPECT_TRUE(test::eventually([&] { return has(page("/drops"), unknown + ":80"); })) << page("/drops");
  const std::string followed = page("/drops?follow", "-N -m 1");
  EXPECT_TRUE(has(followed, unknown + ":80")) << followed;
}

TEST_F(AgentTest, TellsTheRuntimeToTryAgainWhenItsDescriptorsRunOut) {
  descriptor_limit_ = 80;
  start();
  std::vector<TestPod> pods;
  node::CniReply last;
  for (int i = 0; i < 60; ++i) {
    pods.push_back(make_pod());
    last = add(pods.back());
    if (last.code() != 0) break;
  }
  EXPECT_EQ(last.code(), 11u) << last.msg();
  EXPECT_TRUE(has(last.details(), "descriptors")) << last.details();
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(del(pods[i], false).code(), 0u);
  EXPECT_EQ(add(pods.back()).code(), 0u);
}

TEST_F(AgentTest, LeavesNoRedirectionBehindWhenTheDiskIsFull) {
  const std::string folder = run_ + "/agent";
  ::mkdir(folder.c_str(), 0755);
  ASSERT_EQ(::mount("none", folder.c_str(), "tmpfs", 0, "size=64k,mode=755"), 0);
  const std::shared_ptr<void> unmount(nullptr, [&](void*) { ::umount2(folder.c_str(), MNT_DETACH); });
  start();
  const TestPod before = make_pod();
  EXPECT_EQ(add(before).code(), 0u);
  const Fd here = *open_netns("/proc/thread-self/ns/net");
  test::run_in(here.get(), "dd if=/dev/zero of=" + folder + "/filler bs=1k count=128 2>/dev/null");
  const TestPod pod = make_pod();
  const auto refused = add(pod);
  EXPECT_EQ(refused.code(), 11u) << refused.msg();
  EXPECT_TRUE(has(refused.details(), "--run-dir")) << refused.details();
  EXPECT_EQ(check(before).code(), 0u) << "running pods stay as they are";
  std::filesystem::remove(folder + "/filler");
  EXPECT_TRUE(test::eventually([&] { return add(pod).code() == 0; }));
}

TEST_F(AgentTest, RedirectsWithRulesWhenToldTo) {
  start({"--interception", "iptables"});
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  const TestPod pod = make_wired_pod();
  const auto reply = add(pod);
  ASSERT_EQ(reply.code(), 0u) << reply.msg();
  ASSERT_TRUE(proxy.has_pod(pod.id));
  EXPECT_EQ(proxy.pod(pod.id)->interception(), node::IPTABLES);
  const test::SocketMaker app(cgroup_.child("pod"), pod.netns.get());
  Fd client = app.make(AF_INET);
  const std::string there = pod.ip.substr(0, pod.ip.rfind('.')) + ".1:8080";
  ASSERT_EQ(test::connect_to(client, there), 0);
  Fd listener(::dup(proxy.listener(pod.id, false)));
  Fd accepted = test::accept_from(listener);
  ASSERT_TRUE(accepted);
  EXPECT_EQ(test::original_dst(accepted).to_string(), there);
  // The mesh's own sockets pass by their mark.
  Fd mesh = proxy.take_socket(proxy.pod(pod.id)->id(), false);
  EXPECT_EQ(test::connect_to(mesh, there), -ECONNREFUSED) << "nobody listens there";
  EXPECT_EQ(check(pod).code(), 0u) << check(pod).msg();
  EXPECT_EQ(del(pod, true).code(), 0u);
  Fd direct = app.make(AF_INET);
  EXPECT_EQ(test::connect_to(direct, there), -ECONNREFUSED) << "DEL took the rules away";
}

TEST_F(AgentTest, PutsBackRulesThatSomebodyFlushed) {
  start({"--interception", "iptables"});
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  const TestPod pod = make_wired_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  ASSERT_TRUE(proxy.has_pod(pod.id));
  const auto counted = [&](const std::string& result) {
    const std::string name = "heddle_agent_rule_checks_total{result=\"" + result + "\"} ";
    const std::string metrics = page("/metrics");
    const auto at = metrics.find(name);
    return at == std::string::npos ? -1 : std::stoi(metrics.substr(at + name.size()));
  };
  const std::chrono::milliseconds limit(15'000);
  ASSERT_TRUE(test::eventually([&] { return counted("unchanged") >= 2; }, limit)) << page("/metrics");
  EXPECT_EQ(counted("intact"), 1) << "rules that nobody touched are listed once";
  test::must_run_in(pod.netns.get(), "nft flush ruleset");
  EXPECT_EQ(check(pod).code(), 104u);
  EXPECT_TRUE(test::eventually([&] { return check(pod).code() == 0; }, limit)) << check(pod).msg();
  EXPECT_TRUE(has(log(), "missing=\"the pod's nftables rules are not those")) << log();
  EXPECT_EQ(counted("repaired"), 1);
  EXPECT_TRUE(has(page("/metrics"), "heddle_agent_repairs_total 1\n"));
  const test::SocketMaker app(cgroup_.child("pod"), pod.netns.get());
  Fd client = app.make(AF_INET);
  const std::string there = pod.ip.substr(0, pod.ip.rfind('.')) + ".1:8080";
  ASSERT_EQ(test::connect_to(client, there), 0);
  Fd listener(::dup(proxy.listener(pod.id, false)));
  EXPECT_TRUE(test::accept_from(listener));
}

TEST_F(AgentTest, MakesRulesWithTheBackendItIsToldToUse) {
  start({"--interception", "iptables", "--iptables-backend", "iptables-legacy"});
  const TestPod pod = make_wired_pod();
  const auto reply = add(pod);
  ASSERT_EQ(reply.code(), 0u) << reply.msg();
  EXPECT_TRUE(has(page("/state"), "\"iptables\":\"iptables-legacy\""));
  EXPECT_TRUE(has(test::run_in(pod.netns.get(), "iptables-legacy -t nat -S").output, "REDIRECT"));
  EXPECT_EQ(test::run_in(pod.netns.get(), "nft list tables").output, "");
  const auto bad = test::run_in(pod.netns.get(), HEDDLE_AGENT_PROGRAM " --iptables-backend ipfw 2>&1");
  EXPECT_TRUE(has(bad.output, "iptables-nft")) << bad.output;
}

TEST_F(AgentTest, MovesRunningPodsWhenTheInterceptionIsChanged) {
  start();
  FakeProxy first(proxy_socket());
  ASSERT_TRUE(first.serves());
  const TestPod pod = make_wired_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  ASSERT_TRUE(first.has_pod(pod.id));
  const auto connect_arrives = [&](FakeProxy& proxy) {
    const test::SocketMaker app(cgroup_.child("pod" + std::to_string(::random())), pod.netns.get());
    Fd client = app.make(AF_INET);
    const std::string there = pod.ip.substr(0, pod.ip.rfind('.')) + ".1:8080";
    if (const int result = test::connect_to(client, there); result != 0)
      return "connect " + std::to_string(result);
    Fd listener(::dup(proxy.listener(pod.id, false)));
    Fd accepted = test::accept_from(listener);
    return accepted
               ? test::original_dst(accepted).to_string() == there ? std::string("ok") : "wrong destination"
               : "not accepted";
  };
  stop(SIGTERM);
  start({"--interception", "iptables"});
  FakeProxy::Script held;
  held.held = first.leave();
  FakeProxy second(proxy_socket(), std::move(held));
  ASSERT_TRUE(test::eventually(
      [&] { return second.pod(pod.id) && second.pod(pod.id)->interception() == node::IPTABLES; }));
  EXPECT_TRUE(test::eventually([&] { return check(pod).code() == 0; })) << check(pod).msg();
  EXPECT_EQ(connect_arrives(second), "ok");
  EXPECT_FALSE(std::filesystem::exists(bpffs_.path() + "/heddle")) << "leftovers of eBPF";
  stop(SIGTERM);
  FakeProxy::Script script;
  script.held = second.leave();
  start({"--interception", "ebpf"});
  FakeProxy third(proxy_socket(), std::move(script));
  ASSERT_TRUE(
      test::eventually([&] { return third.pod(pod.id) && third.pod(pod.id)->interception() == node::EBPF; }));
  EXPECT_TRUE(test::eventually([&] { return check(pod).code() == 0; })) << check(pod).msg();
  EXPECT_EQ(connect_arrives(third), "ok");
  const auto rules = test::run_in(pod.netns.get(), "nft list ruleset; iptables-save -t nat 2>/dev/null");
  EXPECT_FALSE(has(rules.output, "4140")) << rules.output;
}

// A process of that name in a cgroup and a network namespace, until the end.
class NamedProcess {
 public:
  NamedProcess(const char* name, const std::string& cgroup) {
    int ready[2];
    if (::pipe(ready) != 0) throw std::runtime_error("pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_NAME, name);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      const Fd file(::open((cgroup + "/cgroup.procs").c_str(), O_WRONLY));
      const bool moved = ::write(file.get(), "0", 1) == 1;
      if (::write(ready[1], moved ? "y" : "n", 1) == 1) ::pause();
      ::_exit(1);
    }
    char answer = 'n';
    const bool told = ::read(ready[0], &answer, 1) == 1;
    ::close(ready[0]);
    ::close(ready[1]);
    if (!told || answer != 'y') throw std::runtime_error("a process cannot be moved into " + cgroup);
  }
  ~NamedProcess() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  NamedProcess(const NamedProcess&) = delete;
  NamedProcess& operator=(const NamedProcess&) = delete;

 private:
  pid_t pid_ = -1;
};

TEST_F(AgentTest, FindsTheKubeletsCgroupByItsProcess) {
  test::TestCgroup system;
  const std::string cgroup = system.child("kubelet.service");
  const NamedProcess kubelet("kubelet", cgroup);
  start();
  EXPECT_NE(log().find("probes pass that come from the kubelet's cgroup path=" + cgroup), std::string::npos);
}

TEST_F(AgentTest, TakesNoPodForTheKubeletHoweverItsProcessIsCalled) {
  const std::string cgroup = cgroup_.child("pod");
  const NamedProcess impostor("kubelet", cgroup);
  start();
  EXPECT_NE(log().find("probes pass that come from the node's addresses reason=\"no process of a kubelet"),
            std::string::npos);
}

TEST_F(AgentTest, LearnsAnAddressThatTheNodeGetsLater) {
  const Fd here = *open_netns("/proc/thread-self/ns/net");
  start();
  const std::string map =
      "bpftool map dump pinned $(find " + bpffs_.path() + "/heddle -name node_addresses) -j";
  ASSERT_EQ(test::run_in(here.get(), map).output.find("\"0x0a\",\"0xf4\",\"0x07\",\"0x01\""),
            std::string::npos);
  test::must_run_in(here.get(),
                    "ip link add hdl-cni0 type bridge && ip addr add 10.244.7.1/24 dev hdl-cni0 && "
                    "ip link set hdl-cni0 up");
  ASSERT_EQ(add(make_pod()).code(), 0U);
  const auto dump = test::run_in(here.get(), map).output;
  test::must_run_in(here.get(), "ip link del hdl-cni0");
  EXPECT_NE(dump.find("\"0x0a\",\"0xf4\",\"0x07\",\"0x01\""), std::string::npos) << dump;
}

// Else probes by TCP would be answered by the proxy, whether the app listens or not.
TEST_F(AgentTest, LearnsAnAddressThatTheNodeGetsLaterForRulesToo) {
  const Fd here = *open_netns("/proc/thread-self/ns/net");
  start({"--interception", "iptables", "--iptables-backend", "nftables"});
  const TestPod before = make_pod();
  ASSERT_EQ(add(before).code(), 0U);
  const auto knows = [](const TestPod& pod) {
    return has(test::run_in(pod.netns.get(), "nft list ruleset").output, "10.244.7.1");
  };
  EXPECT_FALSE(knows(before));
  test::must_run_in(here.get(),
                    "ip link add hdl-cni0 type bridge && ip addr add 10.244.7.1/24 dev hdl-cni0 && "
                    "ip link set hdl-cni0 up");
  const TestPod after = make_pod();
  const auto added = add(after).code();
  const bool at_once = knows(after);
  const bool repaired = test::eventually([&] { return knows(before); });
  test::must_run_in(here.get(), "ip link del hdl-cni0");
  EXPECT_EQ(added, 0U);
  EXPECT_TRUE(at_once) << "the pod with which the bridge came";
  EXPECT_TRUE(repaired) << "one that was there already: " << log();
}

}  // namespace
}  // namespace heddle::agent
