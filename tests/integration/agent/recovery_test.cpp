// SPDX-License-Identifier: Apache-2.0
// What survives whose death.
#include <signal.h>
#include <sys/mount.h>

#include <filesystem>

#include "base/io/file.h"
#include "base/io/netns.h"
#include "tests/integration/agent/fixture.h"

namespace heddle::agent {
namespace {

bool log_says(const std::string& log, const std::string& text) {
  return log.find(text) != std::string::npos;
}

TEST_F(AgentTest, GetsListenersBackFromTheProxyAfterItsOwnDeath) {
  start();
  auto proxy = std::make_unique<FakeProxy>(proxy_socket());
  ASSERT_TRUE(proxy->serves());
  const TestPod pod = make_wired_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  ASSERT_TRUE(proxy->has_pod(pod.id));
  const auto before = *proxy->pod(pod.id);
  stop(SIGKILL);

  // New connections still reach the listener while no agent lives.
  const test::SocketMaker app(cgroup_.child("pod"), pod.netns.get());
  Fd client = app.make(AF_INET);
  EXPECT_EQ(test::connect_to(client, "192.0.2.1:80"), 0);
  Fd listener(::dup(proxy->listener(pod.id, false)));
  EXPECT_TRUE(test::accept_from(listener));
  const auto queued_cookie = *socket_netns_cookie(listener.get());
  Fd queued = app.make(AF_INET);
  EXPECT_EQ(test::connect_to(queued, "192.0.2.1:81"), 0);

  FakeProxy::Script script;
  script.held = proxy->leave();
  proxy.reset();
  // The proxy is quicker than the agent: it waits for the socket, as the real one does.
  std::unique_ptr<FakeProxy> again;
  std::thread connector([&] {
    std::filesystem::remove(proxy_socket());
    test::eventually([&] { return static_cast<bool>(connect_unix(proxy_socket(), false)); },
                     std::chrono::milliseconds(15'000));
    again = std::make_unique<FakeProxy>(proxy_socket(), std::move(script));
  });
  start();
  connector.join();
  ASSERT_TRUE(again->serves());
  ASSERT_TRUE(again->has_pod(pod.id));
  const auto after = *again->pod(pod.id);
  EXPECT_EQ(after.id(), before.id());
  EXPECT_GT(after.generation(), before.generation());
  EXPECT_EQ(check(pod).code(), 0u) << check(pod).msg();
  // The listener is the same one: what was queued in it is accepted from what the new agent hands out.
  Fd same(::dup(again->listener(pod.id, false)));
  EXPECT_EQ(*socket_netns_cookie(same.get()), queued_cookie);
  EXPECT_TRUE(test::accept_from(same)) << "the queued connection was lost";
  EXPECT_EQ(del(pod, false).code(), 0u);
  EXPECT_TRUE(again->lost_pod(pod.id));
}

TEST_F(AgentTest, MakesListenersAnewWhenBothEscrowsDied) {
  start();
  const TestPod pod = make_wired_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  stop(SIGKILL);
  // Fail closed: nothing to select is no way around.
  const test::SocketMaker app(cgroup_.child("pod"), pod.netns.get());
  Fd client = app.make(AF_INET);
  EXPECT_EQ(test::connect_to(client, "192.0.2.1:80"), -ECONNREFUSED);
  start();
  EXPECT_EQ(check(pod).code(), 0u) << check(pod).msg();
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.has_pod(pod.id));
  Fd again = app.make(AF_INET);
  EXPECT_EQ(test::connect_to(again, "192.0.2.1:80"), 0);
  Fd listener(::dup(proxy.listener(pod.id, false)));
  Fd accepted = test::accept_from(listener);
  ASSERT_TRUE(accepted);
  EXPECT_EQ(test::original_dst(accepted).to_string(), "192.0.2.1:80");
}

TEST_F(AgentTest, LeavesEverythingInPlaceOnSigterm) {
  start();
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  const TestPod pod = make_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  ASSERT_TRUE(proxy.has_pod(pod.id));
  const std::string before = state();
  ::kill(pid_, SIGTERM);
  EXPECT_EQ(wait_for_exit(), 0);
  EXPECT_EQ(state(), before);
  const test::SocketMaker app(cgroup_.child("pod"), pod.netns.get());
  test::must_run_in(pod.netns.get(), "ip addr add " + pod.ip + "/24 dev lo");
  Fd client = app.make(AF_INET);
  EXPECT_EQ(test::connect_to(client, "192.0.2.1:80"), 0);
}

TEST_F(AgentTest, EndsInTheMiddleOfAnAddAndGoesOnFromThere) {
  start();
  FakeProxy::Script silent;
  silent.acknowledge = false;
  auto proxy = std::make_unique<FakeProxy>(proxy_socket(), std::move(silent));
  ASSERT_TRUE(proxy->serves());
  const TestPod pod = make_wired_pod();
  node::CniReply reply;
  std::thread adding([&] { reply = add(pod); });
  EXPECT_TRUE(proxy->has_pod(pod.id)) << "it waits for the acknowledgement now";
  ::kill(pid_, SIGTERM);
  EXPECT_EQ(wait_for_exit(), 0);
  adding.join();
  EXPECT_EQ(reply.code(), 9999u) << "the plugin sees the conversation end";
  proxy.reset();
  start();
  EXPECT_EQ(check(pod).code(), 0u) << check(pod).msg();
  EXPECT_EQ(add(pod).code(), 0u);
  EXPECT_EQ(del(pod, true).code(), 0u);
  EXPECT_EQ(state().find("\"" + pod.id + "\""), std::string::npos) << state();
  const test::SocketMaker app(cgroup_.child("pod"), pod.netns.get());
  Fd client = app.make(AF_INET);
  EXPECT_EQ(test::connect_to(client, pod.ip.substr(0, pod.ip.rfind('.')) + ".1:8080"), -ECONNREFUSED)
      << "nobody listens there, and nothing is redirected";
}

TEST_F(AgentTest, ReleasesSandboxesThatWentWhileItWasAway) {
  start();
  TestPod gone = make_pod();
  const TestPod stays = make_pod();
  ASSERT_EQ(add(gone).code(), 0u);
  ASSERT_EQ(add(stays).code(), 0u);
  stop(SIGKILL);
  gone.netns.reset();
  start();
  EXPECT_TRUE(test::eventually([&] { return state().find("\"" + gone.id + "\"") == std::string::npos; }))
      << state();
  EXPECT_NE(state().find("\"" + stays.id + "\""), std::string::npos);
  EXPECT_EQ(check(stays).code(), 0u) << check(stays).msg();
}

// A mount that did not come along with a new agent's container.
TEST_F(AgentTest, KeepsRunningPodsRedirectedWhenItCannotSeeTheirNamespacesAnyMore) {
  const std::string folder = run_ + "/netns-of-runtime";
  std::filesystem::create_directories(folder);
  const auto add_at = [&](const TestPod& pod, const std::string& path) {
    EXPECT_TRUE(write_file_atomically(path, "", 0444));
    EXPECT_EQ(::mount(pod.path().c_str(), path.c_str(), nullptr, MS_BIND, nullptr), 0);
    auto asked = request(pod, node::CniRequest::ADD);
    asked.set_netns(path);
    EXPECT_EQ(call_agent(cni_socket(), asked, pod.netns.get()).code(), 0u);
  };
  start();
  const TestPod hidden = make_wired_pod();
  const TestPod elsewhere = make_wired_pod();
  const TestPod removed = make_wired_pod();
  std::filesystem::create_directories(folder + "/other");
  add_at(hidden, folder + "/hidden");
  add_at(elsewhere, folder + "/other/elsewhere");
  add_at(removed, folder + "/removed");
  stop(SIGKILL);
  for (const char* name : {"/hidden", "/other/elsewhere", "/removed"})
    ASSERT_EQ(::umount2((folder + name).c_str(), MNT_DETACH), 0);
  std::filesystem::remove_all(folder + "/other");
  std::filesystem::remove(folder + "/removed");
  start();
  EXPECT_EQ(check(removed).code(), 3u) << "what the runtime removed is released";
  for (const TestPod* pod : {&hidden, &elsewhere}) {
    EXPECT_EQ(check(*pod).code(), 104u) << check(*pod).msg();
    const test::SocketMaker app(cgroup_.child(pod->id), pod->netns.get());
    Fd client = app.make(AF_INET);
    EXPECT_EQ(test::connect_to(client, "192.0.2.1:80"), -ECONNREFUSED)
        << "fail closed, no way around the mesh";
  }
}

TEST_F(AgentTest, RebuildsItsStateFromTheProxyWhenTheFileIsDamaged) {
  start();
  auto proxy = std::make_unique<FakeProxy>(proxy_socket());
  ASSERT_TRUE(proxy->serves());
  const TestPod pod = make_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  ASSERT_TRUE(proxy->has_pod(pod.id));
  stop(SIGKILL);
  ASSERT_TRUE(write_file_atomically(run_ + "/agent/pods.json", "{\"version\":1,\"sandb", 0600));
  FakeProxy::Script script;
  script.held = proxy->leave();
  proxy.reset();
  // Somebody lives in the netns: this test's child.
  const test::SocketMaker inhabitant(cgroup_.child("pod"), pod.netns.get());
  std::unique_ptr<FakeProxy> again;
  std::thread connector([&] {
    std::filesystem::remove(proxy_socket());
    test::eventually([&] { return static_cast<bool>(connect_unix(proxy_socket(), false)); },
                     std::chrono::milliseconds(15'000));
    again = std::make_unique<FakeProxy>(proxy_socket(), std::move(script));
  });
  start();
  connector.join();
  ASSERT_TRUE(again->has_pod(pod.id));
  EXPECT_TRUE(test::eventually([&] { return log_says(log(), "sandbox rebuilt"); }));
  // DEL finds it by its netns, then nothing is left.
  EXPECT_EQ(del(pod, true).code(), 0u);
  EXPECT_TRUE(again->lost_pod(pod.id));
}

TEST_F(AgentTest, RebuildsAPodThatAProxyGivesBackLongAfterTheFileWasLost) {
  start();
  auto proxy = std::make_unique<FakeProxy>(proxy_socket());
  ASSERT_TRUE(proxy->serves());
  const TestPod pod = make_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  ASSERT_TRUE(proxy->has_pod(pod.id));
  stop(SIGKILL);
  ASSERT_TRUE(write_file_atomically(run_ + "/agent/pods.json", "{\"version\":1,\"sandb", 0600));
  FakeProxy::Script script;
  script.held = proxy->leave();
  proxy.reset();
  const test::SocketMaker inhabitant(cgroup_.child("pod"), pod.netns.get());
  start();
  EXPECT_TRUE(test::eventually([&] { return log_says(log(), "a redirected pod is not in the state file"); }));
  FakeProxy again(proxy_socket(), std::move(script));
  ASSERT_TRUE(again.serves());
  EXPECT_TRUE(again.has_pod(pod.id)) << "the proxy was told to let go of a pod that is still redirected";
  EXPECT_TRUE(log_says(log(), "sandbox rebuilt"));
  EXPECT_EQ(del(pod, true).code(), 0u);
  EXPECT_TRUE(again.lost_pod(pod.id));
}

TEST_F(AgentTest, LetsGoOfANetnsWhoseAddDidNotLiveToBeRecorded) {
  const TestPod pod = make_pod();
  const std::string pin = run_ + "/agent/netns/never-recorded";
  std::filesystem::create_directories(run_ + "/agent/netns");
  ASSERT_TRUE(write_file_atomically(pin, "", 0444));
  ASSERT_EQ(::mount(pod.path().c_str(), pin.c_str(), nullptr, MS_BIND, nullptr), 0);
  ASSERT_TRUE(open_netns(pin));
  start();
  EXPECT_FALSE(std::filesystem::exists(pin)) << "it keeps the netns alive for ever";
}

TEST_F(AgentTest, TellsAProxyToLetGoOfPodsThatAreGone) {
  start();
  FakeProxy::HeldPod stale;
  const TestPod pod = make_pod();
  test::in_netns(pod.netns.get(), [&] {
    for (Fd* fd : {&stale.outbound, &stale.inbound}) {
      *fd = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      test::listen_on(*fd, "0.0.0.0:0");
    }
  });
  stale.pod.set_id(99);
  stale.pod.set_name("stale");
  stale.pod.set_netns_cookie(*netns_cookie(pod.netns.get()));
  FakeProxy::Script script;
  script.held.emplace(99, std::move(stale));
  FakeProxy proxy(proxy_socket(), std::move(script));
  ASSERT_TRUE(proxy.serves());
  EXPECT_TRUE(proxy.lost_pod("stale"));
}

TEST_F(AgentTest, RefusesASecondAgentOnTheSameFolder) {
  start();
  const pid_t first = pid_;
  const std::string socket = cni_socket();
  // start() removes the socket file to see the new process come up; the second one must not.
  const auto result =
      test::run_in(make_pod().netns.get(), std::string(HEDDLE_AGENT_PROGRAM) + " --run-dir " + run_ +
                                               " --pin-folder " + bpffs_.path() + "/heddle --pods-cgroup " +
                                               cgroup_.path() + " --http-address ''");
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.output.find("another heddle-agent"), std::string::npos) << result.output;
  EXPECT_EQ(::kill(first, 0), 0);
}

TEST_F(AgentTest, TakesEverythingDownOnUninstall) {
  start();
  const TestPod pod = make_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  stop(SIGTERM);
  const auto result = test::run_in(
      pod.netns.get(), std::string(HEDDLE_AGENT_PROGRAM) + " --uninstall --run-dir " + run_ +
                           " --pin-folder " + bpffs_.path() + "/heddle --pods-cgroup " + cgroup_.path());
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_FALSE(std::filesystem::exists(bpffs_.path() + "/heddle")) << result.output;
  EXPECT_EQ(state(), "");
  const test::SocketMaker app(cgroup_.child("pod"), pod.netns.get());
  Fd client = app.make(AF_INET);
  EXPECT_NE(test::connect_to(client, "127.0.0.1:1"), 0);
}

}  // namespace
}  // namespace heddle::agent
