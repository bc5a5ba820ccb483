// SPDX-License-Identifier: Apache-2.0
// The conversation with proxies: away, slow, replaced, wrong, unauthorised.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io/netns.h"
#include "tests/integration/agent/fixture.h"

namespace heddle::agent {
namespace {

TEST_F(AgentTest, EnrolsWhileTheProxyIsAwayAndTellsItLater) {
  start();
  const TestPod pod = make_wired_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  // Connections wait in the backlog of the listener the agent holds.
  const test::SocketMaker app(cgroup_.child("pod"), pod.netns.get());
  Fd client = app.make(AF_INET);
  EXPECT_EQ(test::connect_to(client, "192.0.2.1:80"), 0);
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.has_pod(pod.id));
  Fd listener(::dup(proxy.listener(pod.id, false)));
  EXPECT_TRUE(test::accept_from(listener));
}

TEST_F(AgentTest, GoesOnWithoutAnAcknowledgementAfterItsDeadlineAndOffersAgain) {
  start();
  FakeProxy::Script script;
  script.acknowledge = false;
  FakeProxy proxy(proxy_socket(), std::move(script));
  ASSERT_TRUE(proxy.serves());
  const TestPod slow = make_pod();
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_EQ(add(slow).code(), 0u);
  const auto took = std::chrono::steady_clock::now() - begun;
  EXPECT_GE(took, std::chrono::milliseconds(1900));
  EXPECT_LT(took, std::chrono::milliseconds(4000));
  EXPECT_EQ(check(slow).code(), 0u);
  proxy.acknowledge_from_now_on();
  const auto upserts = [&] {
    int count = 0;
    for (const auto& message : proxy.messages()) count += message.has_pod_upsert() ? 1 : 0;
    return count;
  };
  EXPECT_TRUE(test::eventually([&] { return upserts() >= 2; }, std::chrono::milliseconds(10'000)));
}

TEST_F(AgentTest, DrainsTheOldProxyOnlyWhenTheNewOneServesEverything) {
  start();
  FakeProxy old(proxy_socket());
  ASSERT_TRUE(old.serves());
  const TestPod pod = make_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  ASSERT_TRUE(old.has_pod(pod.id));
  FakeProxy::Script slow;
  slow.answer_snapshot = false;
  FakeProxy young(proxy_socket(), std::move(slow));
  ASSERT_TRUE(young.serves());
  ASSERT_TRUE(young.has_pod(pod.id));
  EXPECT_FALSE(old.told_to_drain(std::chrono::milliseconds(200)));
  // Both hear of what happens meanwhile.
  const TestPod later = make_pod();
  ASSERT_EQ(add(later).code(), 0u);
  EXPECT_TRUE(old.has_pod(later.id));
  EXPECT_TRUE(young.has_pod(later.id));
  node::FromProxy ack;
  ack.mutable_snapshot_ack()->set_pods(1);
  young.send(ack);
  EXPECT_TRUE(old.told_to_drain());
  EXPECT_FALSE(young.told_to_drain(std::chrono::milliseconds(100)));
  // A removed pod is let go of by the draining one too: its listener keeps a netns alive.
  EXPECT_EQ(del(pod, false).code(), 0u);
  EXPECT_TRUE(old.lost_pod(pod.id));
  EXPECT_TRUE(young.lost_pod(pod.id));
}

TEST_F(AgentTest, KeepsTheYoungerProxyWhenTheOlderOneComesBackLater) {
  start();
  FakeProxy::Script young;
  young.started_unix_ms = 2000;
  FakeProxy first(proxy_socket(), std::move(young));
  ASSERT_TRUE(first.serves());
  FakeProxy::Script old;
  old.started_unix_ms = 1000;
  FakeProxy second(proxy_socket(), std::move(old));
  EXPECT_TRUE(second.told_to_drain());
  EXPECT_FALSE(first.told_to_drain(std::chrono::milliseconds(100)));
}

// Its agent was replaced while it drained.
TEST_F(AgentTest, GivesADrainingProxySocketsAndNewPodsToOthersOnly) {
  start();
  const TestPod pod = make_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  FakeProxy::Script script;
  script.draining = true;
  script.started_unix_ms = 1000;
  script.ack_error = "this proxy drains";
  FakeProxy old(proxy_socket(), std::move(script));
  ASSERT_TRUE(old.serves()) << "the snapshot tells it which pods live";
  ASSERT_TRUE(old.has_pod(pod.id));
  EXPECT_TRUE(old.take_socket(old.pod(pod.id)->id(), false));
  // Nobody waits for its word on a new pod, which would take until the deadline of acknowledgements.
  const TestPod later = make_pod();
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_EQ(add(later).code(), 0u);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::milliseconds(1900));
  EXPECT_FALSE(old.has_pod(later.id, std::chrono::milliseconds(100)));
  // It is younger, if one goes by when it began.
  FakeProxy successor(proxy_socket());
  ASSERT_TRUE(successor.has_pod(later.id));
  EXPECT_FALSE(successor.told_to_drain(std::chrono::milliseconds(100)));
  EXPECT_EQ(del(pod, false).code(), 0u);
  EXPECT_TRUE(old.lost_pod(pod.id));
}

TEST_F(AgentTest, GivesSocketsOnRequestOnly) {
  start();
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  const TestPod pod = make_wired_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  ASSERT_TRUE(proxy.has_pod(pod.id));
  const auto id = proxy.pod(pod.id)->id();
  node::FromProxy request;
  request.mutable_socket_request()->set_pod_id(id);
  request.mutable_socket_request()->set_count(100);
  request.mutable_socket_request()->set_request(42);
  proxy.send(request);
  EXPECT_TRUE(test::eventually([&] { return proxy.sockets_of(id, false) == 100; }));
  EXPECT_EQ(proxy.sockets_of(id, true), 0u) << "how many a pod needs is its proxy's to say";
  const Fd socket = proxy.take_socket(id, false);
  EXPECT_EQ(*socket_netns_cookie(socket.get()), *netns_cookie(pod.netns.get()));
  EXPECT_NE(::fcntl(socket.get(), F_GETFL) & O_NONBLOCK, 0);
  // For a pod that is not there the answer is an error, not silence.
  request.mutable_socket_request()->set_pod_id(4000);
  request.mutable_socket_request()->set_request(43);
  proxy.send(request);
  EXPECT_TRUE(test::eventually([&] {
    for (const auto& message : proxy.messages()) {
      if (message.has_sockets() && message.sockets().request() == 43)
        return !message.sockets().error().empty();
    }
    return false;
  }));
}

TEST_F(AgentTest, RefusesPeersOfOtherUsers) {
  start({"--proxy-uid", "12345"});
  const auto tries_as = [&](uid_t uid, const std::string& socket) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (::setgid(12345) != 0 || ::setuid(uid) != 0) ::_exit(9);
      auto fd = connect_unix(socket, false);
      if (!fd) ::_exit(1);
      node::FromProxy hello;
      hello.mutable_hello()->set_pid(1);
      (void)static_cast<bool>(send_unix(fd->get(), hello.SerializeAsString()));
      node::FromProxy end;
      end.mutable_held_end();
      (void)static_cast<bool>(send_unix(fd->get(), end.SerializeAsString()));
      ::_exit(receive_unix(fd->get()) ? 0 : 2);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  };
  EXPECT_EQ(tries_as(12345, proxy_socket()), 0);
  EXPECT_EQ(tries_as(23456, proxy_socket()), 2) << "in the group, but another user";
  EXPECT_EQ(tries_as(12345, cni_socket()), 1) << "the socket's mode keeps everybody out but root";
}

TEST_F(AgentTest, AnswersAMalformedCniRequestWithAnError) {
  start();
  auto fd = connect_unix(cni_socket(), false);
  ASSERT_TRUE(fd);
  ASSERT_TRUE(send_unix(fd->get(), "\xff\xff\xff\xff not a message"));
  auto answer = receive_unix(fd->get());
  ASSERT_TRUE(answer);
  node::CniReply reply;
  ASSERT_TRUE(reply.ParseFromString(answer->bytes));
  EXPECT_EQ(reply.code(), 6u);
  EXPECT_FALSE(reply.details().empty());
  EXPECT_EQ(add(make_pod()).code(), 0u) << "and goes on serving";
}

TEST_F(AgentTest, DisconnectsAProxyThatTalksNonsenseAndServesTheNext) {
  start();
  FakeProxy::Script silent;
  silent.say_hello = false;
  FakeProxy rude(proxy_socket(), std::move(silent));
  node::FromProxy ack;
  ack.mutable_snapshot_ack();
  rude.send(ack);
  EXPECT_TRUE(rude.closed()) << "the first message is to be Hello";
  FakeProxy broken(proxy_socket());
  ASSERT_TRUE(broken.serves());
  for (int i = 0; i < 20; ++i) broken.send_raw("\xff\xff\xff");
  EXPECT_TRUE(broken.closed());
  FakeProxy good(proxy_socket());
  EXPECT_TRUE(good.serves());
}

TEST_F(AgentTest, DisconnectsAProxyThatSpeaksOutOfTurn) {
  start();
  FakeProxy twice(proxy_socket());
  ASSERT_TRUE(twice.serves());
  node::FromProxy hello;
  hello.mutable_hello()->set_version("again");
  twice.send(hello);
  EXPECT_TRUE(twice.closed()) << "each greeting would cost a snapshot";
  FakeProxy late(proxy_socket());
  ASSERT_TRUE(late.serves());
  node::FromProxy held;
  held.mutable_held()->mutable_pod()->set_id(7);
  held.mutable_held()->mutable_pod()->set_netns_cookie(7);
  const Fd any(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  late.send(held, {any.get(), any.get()});
  EXPECT_TRUE(late.closed()) << "what it gives back would be remembered for ever";
  FakeProxy good(proxy_socket());
  EXPECT_TRUE(good.serves());
}

TEST_F(AgentTest, IsNotLedAstrayByWhatAProxyClaims) {
  start();
  const TestPod pod = make_pod();
  FakeProxy::HeldPod claimed;
  test::in_netns(pod.netns.get(), [&] {
    for (Fd* fd : {&claimed.outbound, &claimed.inbound}) {
      *fd = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      test::listen_on(*fd, "0.0.0.0:0");
    }
  });
  claimed.pod.set_id(99);
  claimed.pod.set_netns_cookie(*netns_cookie(pod.netns.get()));
  claimed.pod.set_generation(~0ull - 1);
  FakeProxy::Script liar;
  liar.held.emplace(99, std::move(claimed));
  liar.started_unix_ms = ~0ull;
  FakeProxy old(proxy_socket(), std::move(liar));
  ASSERT_TRUE(old.serves());
  // Generations do not run out.
  const TestPod first = make_pod();
  const TestPod second = make_pod();
  ASSERT_EQ(add(first).code(), 0u);
  ASSERT_EQ(add(second).code(), 0u);
  ASSERT_TRUE(old.has_pod(first.id));
  ASSERT_TRUE(old.has_pod(second.id));
  EXPECT_GT(old.pod(second.id)->generation(), old.pod(first.id)->generation());
  EXPECT_LT(old.pod(second.id)->generation(), ~0ull / 2);
  // An acknowledgement of what is yet to come is not believed.
  node::FromProxy ack;
  ack.mutable_pod_ack()->set_id(old.pod(first.id)->id());
  ack.mutable_pod_ack()->set_generation(~0ull);
  old.send(ack);
  // Its successor is younger, whatever it said of itself.
  FakeProxy::Script honest;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  honest.started_unix_ms =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
  FakeProxy young(proxy_socket(), std::move(honest));
  ASSERT_TRUE(young.serves());
  EXPECT_TRUE(old.told_to_drain());
  EXPECT_FALSE(young.told_to_drain(std::chrono::milliseconds(100)));
}

TEST_F(AgentTest, MakesListenersAnewThatAProxyEnded) {
  start();
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  const TestPod pod = make_wired_pod();
  ASSERT_EQ(add(pod).code(), 0u);
  ASSERT_TRUE(proxy.has_pod(pod.id));
  for (const bool inbound : {false, true}) {
    const auto before = proxy.pod(pod.id)->generation();
    ASSERT_EQ(::shutdown(proxy.listener(pod.id, inbound), SHUT_RDWR), 0);
    EXPECT_EQ(check(pod).code(), 104u) << "it is the same socket";
    EXPECT_EQ(add(pod).code(), 0u);
    EXPECT_EQ(check(pod).code(), 0u) << check(pod).msg();
    ASSERT_TRUE(
        test::eventually([&] { return proxy.pod(pod.id) && proxy.pod(pod.id)->generation() > before; }));
    const test::SocketMaker app(cgroup_.child(inbound ? "again" : "pod"), pod.netns.get());
    Fd client = app.make(AF_INET);
    ASSERT_EQ(test::connect_to(client, "192.0.2.1:80"), 0);
    Fd listener(::dup(proxy.listener(pod.id, false)));
    EXPECT_TRUE(test::accept_from(listener));
  }
}

TEST_F(AgentTest, RefusesCertificatesForIdentitiesThatAreNotHere) {
  start();
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  node::FromProxy request;
  request.mutable_certify_request()->set_identity(
      "admin.kube-system.serviceaccount.identity.heddle.cluster.local");
  request.mutable_certify_request()->set_pod_id(1);
  request.mutable_certify_request()->set_csr("der");
  proxy.send(request);
  EXPECT_TRUE(test::eventually([&] {
    for (const auto& message : proxy.messages()) {
      if (message.has_certificate())
        return message.certificate().error().find("no meshed pod") != std::string::npos;
    }
    return false;
  }));
}

}  // namespace
}  // namespace heddle::agent
