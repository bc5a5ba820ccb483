// SPDX-License-Identifier: Apache-2.0
#include "proxy/listen/agent_link.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/node.pb.h"
#include "proxy/program/drain.h"
#include "tests/unit/proxy_core/rig.h"

namespace heddle::proxy {
namespace {

// A lane that listens to nothing and remembers; it answers when the test says so.
struct FakeLane final : Lane {
  std::vector<std::string> calls;
  std::vector<std::function<void(const std::string&)>> unanswered;
  bool answer_at_once = true;
  std::vector<Fd> got;
  std::function<void()> empty;
  void upsert(PodRef pod, std::shared_ptr<PodListeners> listeners,
              std::function<void(const std::string&)> done) override {
    calls.push_back("upsert " + std::to_string(pod->id) + (listeners ? " with listeners" : ""));
    answer_at_once ? done("") : unanswered.push_back(std::move(done));
  }
  void retire(std::uint32_t id, std::uint64_t) override { calls.push_back("retire " + std::to_string(id)); }
  void remove(std::uint32_t id, std::uint64_t) override { calls.push_back("remove " + std::to_string(id)); }
  void sockets(std::uint32_t pod_id, bool, std::vector<Fd> sockets, std::string error) override {
    calls.push_back("sockets " + std::to_string(pod_id) + " " + std::to_string(sockets.size()) + error);
    for (Fd& each : sockets) got.push_back(std::move(each));
  }
  void agent_ready() override { calls.push_back("ready"); }
  void drain(std::function<void()> done) override {
    calls.push_back("drain");
    empty = std::move(done);
  }
  void end_idle() override { calls.push_back("end idle"); }
  std::size_t waiting = 0;
  void count_waiting(std::function<void(std::size_t)> done) override { done(waiting); }
  void cut(std::function<void(std::size_t)> done) override {
    calls.push_back("cut");
    done(3);
  }
};

struct Observed final : LinkObserver {
  std::vector<std::string> calls;
  PodRef last;
  void pod_upserted(const PodRef& pod) override {
    calls.push_back("upserted " + std::to_string(pod->id));
    last = pod;
  }
  void pod_removed(const PodRef& pod) override { calls.push_back("removed " + std::to_string(pod->id)); }
  void certificate(AgentCertificate each) override { calls.push_back("certificate " + each.identity); }
  void agent_ready() override { calls.push_back("ready"); }
  bool prepare_at_once = true;
  std::function<void()> prepared;
  void prepare(std::function<void()> done) override {
    prepare_at_once ? done() : void(prepared = std::move(done));
  }
  void snapshot_served() override { calls.push_back("served"); }
  void agent_holds() override { calls.push_back("held"); }
  void drain(std::chrono::seconds grace) override {
    calls.push_back("drain " + std::to_string(grace.count()));
  }
};

struct AgentLinkTest : testing::Test {
  AgentLinkTest() {
    char name[] = "/tmp/heddle-link-XXXXXX";
    folder = ::mkdtemp(name);
    path = folder + "/proxy.sock";
    listen();
    AgentLink::Options options;
    options.socket_path = path;
    options.version = "test";
    options.agent_uid = ::getuid();
    options.backoff = {std::chrono::milliseconds(1), std::chrono::milliseconds(5), 0};
    link = std::make_unique<AgentLink>(loop, options, observed);
    link->serve_lanes({&lanes[0], &lanes[1]});
  }
  ~AgentLinkTest() override {
    link.reset();
    ::unlink(path.c_str());
    ::rmdir(folder.c_str());
  }
  void listen() {
    auto made = listen_unix(path, 0600, true);
    ASSERT_TRUE(made) << made.error().message();
    listener = std::move(*made);
  }
  bool run_until(const std::function<bool()>& condition) {
    const auto end = Loop::Clock::now() + std::chrono::seconds(5);
    Timer timer(loop, [&] { loop.stop(); });
    bool holds = condition();
    while (!holds && Loop::Clock::now() < end) {
      timer.arm(std::chrono::milliseconds(1));
      loop.run();
      holds = condition();
    }
    return holds;
  }
  // The agent's side.
  void accept() {
    ASSERT_TRUE(run_until([&] {
      auto got = accept_unix(listener, true);
      if (got) agent = std::move(*got);
      return static_cast<bool>(got);
    })) << "the proxy does not connect";
  }
  node::FromProxy next() {
    node::FromProxy message;
    descriptors.clear();
    EXPECT_TRUE(run_until([&] {
      auto got = receive_unix(agent.get());
      if (!got) return false;
      descriptors = std::move(got->fds);
      return message.ParseFromString(got->bytes);
    })) << "the proxy says nothing";
    return message;
  }
  void say(const node::ToProxy& message, const std::vector<int>& fds = {}) {
    auto sent = send_unix(agent.get(), message.SerializeAsString(), fds);
    ASSERT_TRUE(sent) << sent.error().message();
  }
  node::Pod pod(std::uint32_t id, std::uint64_t generation = 1) {
    node::Pod out;
    out.set_id(id);
    out.set_netns_cookie(1000 + id);
    out.set_generation(generation);
    out.set_namespace_("shop");
    out.set_name("web-" + std::to_string(id));
    out.set_identity("web.shop.serviceaccount.identity.heddle.cluster.local");
    out.add_ips("127.0.0." + std::to_string(id));
    out.set_outbound_port(4140);
    out.set_inbound_port(4143);
    out.set_interception(node::EBPF);
    return out;
  }
  void upsert(const node::Pod& pod, bool with_listeners = true) {
    node::ToProxy message;
    *message.mutable_pod_upsert()->mutable_pod() = pod;
    say(message, with_listeners ? std::vector<int>{outbound.listener.get(), inbound.listener.get()}
                                : std::vector<int>{});
  }
  void snapshot_end() {
    node::ToProxy message;
    message.mutable_snapshot_end()->set_pods(1);
    say(message);
  }
  void pod_remove(std::uint64_t cookie, std::uint32_t grace_seconds = 0) {
    node::ToProxy message;
    message.mutable_pod_remove()->set_id(1);
    message.mutable_pod_remove()->set_netns_cookie(cookie);
    message.mutable_pod_remove()->set_grace_seconds(grace_seconds);
    say(message);
  }
  // A conversation with a snapshot of pods 1 to `count` that both sides agree on.
  void serve_pods(std::uint32_t count) {
    link->start();
    welcome();
    for (std::uint32_t id = 1; id <= count; ++id) upsert(pod(id));
    snapshot_end();
    for (std::uint32_t i = 0; i <= count; ++i) next();
  }
  void serve_first_pod() { serve_pods(1); }
  void welcome() {
    accept();
    const node::FromProxy hello = next();
    EXPECT_EQ(hello.hello().version(), "test");
    started = hello.hello().started_unix_ms();
    EXPECT_TRUE(next().has_held_end());
    node::ToProxy message;
    message.mutable_welcome()->set_node_name("n1");
    say(message);
  }

  std::string folder, path;
  Loop loop;
  Fd listener, agent;
  std::uint64_t started = 0;  // as the first hello says
  std::vector<Fd> descriptors;
  FakeLane lanes[2];
  Observed observed;
  test::Server outbound, inbound;
  std::unique_ptr<AgentLink> link;
};

TEST_F(AgentLinkTest, AcknowledgesAPodOnlyWhenEveryWorkerListens) {
  lanes[1].answer_at_once = false;
  link->start();
  welcome();
  upsert(pod(1, 7));
  snapshot_end();
  ASSERT_TRUE(run_until([&] { return lanes[1].unanswered.size() == 1; }));
  EXPECT_FALSE(receive_unix(agent.get())) << "acknowledged too early";
  lanes[1].unanswered[0]("");
  const auto ack = next();
  EXPECT_EQ(ack.pod_ack().id(), 1u);
  EXPECT_EQ(ack.pod_ack().generation(), 7u);
  EXPECT_EQ(ack.pod_ack().error(), "");
  EXPECT_EQ(next().snapshot_ack().pods(), 1u);
  EXPECT_EQ(lanes[0].calls, (std::vector<std::string>{"upsert 1 with listeners", "ready"}));
  EXPECT_EQ(observed.calls, (std::vector<std::string>{"upserted 1", "ready", "served"}));
}

TEST_F(AgentLinkTest, AcknowledgesTheSnapshotButNoPodOnlyWhenItsPodsHaveWhatElseTheyNeed) {
  observed.prepare_at_once = false;
  link->start();
  welcome();
  upsert(pod(1));
  snapshot_end();
  EXPECT_EQ(next().pod_ack().id(), 1u);
  upsert(pod(2));
  EXPECT_EQ(next().pod_ack().id(), 2u) << "a pod that starts now does not wait for others";
  EXPECT_FALSE(receive_unix(agent.get())) << "the older proxy would be told to drain";
  EXPECT_EQ(observed.calls.back(), "upserted 2") << "and this one is not ready";
  std::thread(observed.prepared).join();
  EXPECT_EQ(next().snapshot_ack().pods(), 2u);
  EXPECT_EQ(observed.calls.back(), "served");
  // Of an earlier conversation it says nothing.
  const auto late = observed.prepared;
  agent.reset();
  accept();
  for (int i = 0; i < 4; ++i) next();
  snapshot_end();
  ASSERT_TRUE(run_until([&] { return link->connected(); }));
  late();
  upsert(pod(3));
  EXPECT_EQ(next().pod_ack().id(), 3u);
  observed.prepared();
  EXPECT_TRUE(next().has_snapshot_ack());
}

TEST_F(AgentLinkTest, LimitsOfAPodAreTheProxysUnlessItsDescriptionHasSome) {
  link->start();
  welcome();
  auto described = pod(1);
  described.mutable_limits()->set_connections(7);
  upsert(described);
  next();
  const PodRef first = observed.last;
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->load->limits.connections, 7u);
  EXPECT_EQ(first->load->limits.requests, PodLimits().requests);
  EXPECT_EQ(first->load->limits.buffered_bytes, PodLimits().buffered_bytes);
  described.set_generation(2);
  described.mutable_limits()->set_connections(0);
  described.mutable_limits()->set_requests(5);
  upsert(described, false);
  next();
  // What connections of the earlier description ask too.
  EXPECT_EQ(first->load->limits.connections, PodLimits().connections);
  EXPECT_EQ(first->load->limits.requests, 5u);
}

TEST_F(AgentLinkTest, TellsTheAgentWhyAPodIsNotServed) {
  link->start();
  welcome();
  auto broken = pod(1);
  broken.set_default_inbound_policy("everybody");
  upsert(broken);
  EXPECT_NE(next().pod_ack().error().find("everybody"), std::string::npos);
  upsert(pod(2), false);
  EXPECT_NE(next().pod_ack().error().find("no listeners"), std::string::npos);
  // A descriptor that does not listen.
  test::Server other;
  const Fd plain(::socket(AF_INET, SOCK_STREAM, 0));
  node::ToProxy message;
  *message.mutable_pod_upsert()->mutable_pod() = pod(3);
  say(message, {other.listener.get(), plain.get()});
  EXPECT_NE(next().pod_ack().error().find("not a listening socket"), std::string::npos);
  EXPECT_EQ(link->pods(), 0u);
}

TEST_F(AgentLinkTest, GivesANewAgentTheListenersBack) {
  serve_pods(2);
  agent.reset();
  listener.reset();
  listen();
  accept();
  EXPECT_EQ(next().hello().started_unix_ms(), started)
      << "a proxy that reconnects would count as younger than its successor";
  for (const std::uint32_t id : {1u, 2u}) {
    const auto held = next();
    EXPECT_EQ(held.held().pod().id(), id);
    EXPECT_EQ(held.held().pod().netns_cookie(), 1000 + id);
    EXPECT_EQ(held.held().pod().identity(), pod(id).identity());
    ASSERT_EQ(descriptors.size(), 2u);
    int listening = 0;
    socklen_t size = sizeof listening;
    ::getsockopt(descriptors[0].get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &size);
    EXPECT_EQ(listening, 1);
  }
  EXPECT_EQ(next().held_end().pods(), 2u);
  // The same pods again change nothing for the workers; what the new agent does not know of is gone.
  lanes[0].calls.clear();
  upsert(pod(1, 2));
  snapshot_end();
  EXPECT_EQ(next().pod_ack().generation(), 2u);
  EXPECT_EQ(next().snapshot_ack().pods(), 1u);
  EXPECT_EQ(lanes[0].calls, (std::vector<std::string>{"upsert 1", "remove 2", "ready"}));
}

// Agent and proxy are replaced at the same time.
TEST_F(AgentLinkTest, KeepsTheListenersForAnAgentThatComesBackWhileItDrains) {
  serve_first_pod();
  link->stop_serving(AgentLink::Listeners::keep);
  EXPECT_FALSE(link->is_only_holder());
  agent.reset();
  listener.reset();
  ASSERT_TRUE(run_until([&] { return link->is_only_holder(); }));
  listen();
  accept();
  EXPECT_TRUE(next().has_hello());
  EXPECT_EQ(next().held().pod().id(), 1u);
  EXPECT_EQ(descriptors.size(), 2u);
  EXPECT_EQ(next().held_end().pods(), 1u);
  EXPECT_TRUE(link->is_only_holder()) << "the agent may still die before it took them";
  snapshot_end();
  EXPECT_TRUE(run_until([&] { return !link->is_only_holder(); }));
}

// Their requests would be cut, with seconds of the grace left.
TEST_F(AgentLinkTest, KeepsThePodsOfWhichANewAgentTellsWhileItDrains) {
  serve_pods(2);
  link->stop_serving(AgentLink::Listeners::keep);
  agent.reset();
  accept();
  EXPECT_TRUE(next().hello().draining());
  for (int i = 0; i < 3; ++i) next();  // two pods that it holds, HeldEnd
  lanes[0].calls.clear();
  upsert(pod(1, 2));
  snapshot_end();
  const auto ack = next();
  EXPECT_EQ(ack.pod_ack().id(), 1u);
  EXPECT_NE(ack.pod_ack().error(), "") << "it serves nobody anew";
  EXPECT_EQ(next().snapshot_ack().pods(), 1u);
  EXPECT_EQ(lanes[0].calls, (std::vector<std::string>{"remove 2", "ready"}))
      << "the agent does not know pod 2";
  EXPECT_TRUE(run_until([&] { return observed.calls.back() == "served"; }));
}

TEST_F(AgentLinkTest, LetsTheListenersGoWhenANewerProxyHasThem) {
  serve_first_pod();
  link->stop_serving(AgentLink::Listeners::let_go);
  agent.reset();
  ASSERT_TRUE(run_until([&] { return !link->connected(); }));
  EXPECT_FALSE(link->is_only_holder());
}

// What it accepted before goes on for minutes, and may have to dial.
TEST_F(AgentLinkTest, GetsSocketsOfANewAgentWhileItDrainsForANewerProxy) {
  serve_first_pod();
  link->stop_serving(AgentLink::Listeners::let_go);
  agent.reset();
  accept();
  EXPECT_TRUE(next().hello().draining());
  EXPECT_EQ(next().held_end().pods(), 0u) << "it has no listeners to give back";
  lanes[1].calls.clear();
  upsert(pod(1, 2));
  snapshot_end();
  EXPECT_NE(next().pod_ack().error(), "");
  EXPECT_EQ(next().snapshot_ack().pods(), 1u);
  ASSERT_TRUE(run_until([&] { return link->connected(); }));
  EXPECT_FALSE(link->is_only_holder());
  EXPECT_EQ(lanes[1].calls, std::vector<std::string>{"ready"})
      << "the pod is neither served anew nor forgotten";
  link->request_sockets(1, 1, false, 1);
  EXPECT_EQ(next().socket_request().pod_id(), 1u);
  const Fd one(::socket(AF_INET, SOCK_STREAM, 0));
  node::ToProxy message;
  message.mutable_sockets()->set_pod_id(1);
  message.mutable_sockets()->set_request(1);
  say(message, {one.get()});
  EXPECT_TRUE(run_until([&] { return lanes[1].got.size() == 1; }));
}

TEST_F(AgentLinkTest, GivesSocketsToTheWorkerThatAskedAndSpreadsGifts) {
  serve_first_pod();
  link->request_sockets(1, 1, false, 2);
  const auto request = next();
  EXPECT_EQ(request.socket_request().pod_id(), 1u);
  EXPECT_EQ(request.socket_request().count(), 2u);
  const Fd one(::socket(AF_INET, SOCK_STREAM, 0)), other(::socket(AF_INET, SOCK_STREAM, 0));
  node::ToProxy message;
  message.mutable_sockets()->set_pod_id(1);
  message.mutable_sockets()->set_request(request.socket_request().request());
  say(message, {one.get(), other.get()});
  ASSERT_TRUE(run_until([&] { return lanes[1].got.size() == 2; }));
  message.mutable_sockets()->set_request(0);
  say(message, {one.get(), other.get()});
  ASSERT_TRUE(run_until([&] { return lanes[1].got.size() == 3 && lanes[0].got.size() == 1; }));
}

// As long as it lives this process can open nothing, and receive no descriptor.
class NoDescriptors {
 public:
  NoDescriptors() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit none{0, before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
  NoDescriptors(const NoDescriptors&) = delete;
  NoDescriptors& operator=(const NoDescriptors&) = delete;

 private:
  rlimit before_{};
};

TEST_F(AgentLinkTest, GoesOnWithoutSocketsThatItHasNoDescriptorFor) {
  serve_first_pod();
  link->request_sockets(1, 1, false, 2);
  const auto request = next();
  const Fd one(::socket(AF_INET, SOCK_STREAM, 0)), other(::socket(AF_INET, SOCK_STREAM, 0));
  node::ToProxy message;
  message.mutable_sockets()->set_pod_id(1);
  message.mutable_sockets()->set_request(request.socket_request().request());
  {
    const NoDescriptors none;
    say(message, {one.get(), other.get()});
    ASSERT_TRUE(run_until([&] { return lanes[1].calls.back().starts_with("sockets 1 0"); }));
    message.mutable_sockets()->set_request(0);  // a gift
    say(message, {one.get(), other.get()});
    upsert(pod(1, 2), false);
    EXPECT_EQ(next().pod_ack().generation(), 2u) << "the conversation goes on";
  }
  EXPECT_NE(lanes[1].calls[lanes[1].calls.size() - 2].find("no descriptor"), std::string::npos);
  EXPECT_TRUE(link->connected());
  PodRef held;
  link->for_each_pod([&](const Pod& each) { held = std::make_shared<Pod>(each); });
  EXPECT_EQ(held->load->limited[static_cast<std::size_t>(Limit::descriptors)], 2u);
  message.mutable_sockets()->set_request(request.socket_request().request());
  say(message, {one.get(), other.get()});
  EXPECT_TRUE(run_until([&] { return lanes[1].got.size() == 2; })) << "as soon as there is room";
}

TEST_F(AgentLinkTest, BeginsAnewForListenersThatItHasNoDescriptorFor) {
  link->start();
  welcome();
  {
    const NoDescriptors none;
    upsert(pod(1));
    // The agent's end is this process' as well: it notices that it is alone.
    ASSERT_TRUE(run_until([&] {
      auto got = receive_unix(agent.get());
      return !got && got.error().code == make_error_code(Errc::closed);
    }));
  }
  EXPECT_FALSE(link->connected());
  welcome();
  upsert(pod(1));
  EXPECT_EQ(next().pod_ack().error(), "");
}

TEST_F(AgentLinkTest, PreparesTheSocketsOfAnAgentThatDidNot) {
  serve_first_pod();
  for (const bool prepared : {false, true}) {
    const std::size_t before = lanes[0].got.size() + lanes[1].got.size();
    const Fd one(::socket(AF_INET, SOCK_STREAM, 0));
    node::ToProxy message;
    message.mutable_sockets()->set_pod_id(1);
    message.mutable_sockets()->set_prepared(prepared);
    say(message, {one.get()});
    ASSERT_TRUE(run_until([&] { return lanes[0].got.size() + lanes[1].got.size() > before; }));
    // The test's own descriptor is of the same socket.
    int keepalive = -1;
    socklen_t size = sizeof keepalive;
    ASSERT_EQ(::getsockopt(one.get(), SOL_SOCKET, SO_KEEPALIVE, &keepalive, &size), 0);
    EXPECT_EQ(keepalive, prepared ? 0 : 1);
    EXPECT_EQ((::fcntl(one.get(), F_GETFL) & O_NONBLOCK) != 0, !prepared);
  }
}

TEST_F(AgentLinkTest, PassesCertificatesAndRequestsOn) {
  link->start();
  welcome();
  snapshot_end();
  EXPECT_TRUE(next().has_snapshot_ack());
  std::thread other([&] { link->request("web.id", 4, "csr"); });
  const auto request = next();
  other.join();
  EXPECT_EQ(request.certify_request().identity(), "web.id");
  EXPECT_EQ(request.certify_request().csr(), "csr");
  node::ToProxy message;
  message.mutable_certificate()->set_identity("web.id");
  message.mutable_certificate()->set_leaf("der");
  say(message);
  EXPECT_TRUE(run_until([&] { return observed.calls.back() == "certificate web.id"; }));
}

TEST_F(AgentLinkTest, ForgetsARemovedPodOnlyByItsCookie) {
  serve_first_pod();
  pod_remove(5);
  pod_remove(1001);
  ASSERT_TRUE(run_until([&] { return link->pods() == 0; }));
  EXPECT_EQ(lanes[0].calls.back(), "remove 1");
}

TEST_F(AgentLinkTest, GivesAReleasedPodsConnectionsTheirTimeAndThenForgetsIt) {
  serve_first_pod();
  pod_remove(1001, 1);
  ASSERT_TRUE(run_until([&] { return lanes[1].calls.back() == "retire 1"; }));
  EXPECT_EQ(link->pods(), 1u);
  snapshot_end();  // of which it is not a part
  EXPECT_EQ(next().snapshot_ack().pods(), 1u);
  ASSERT_TRUE(run_until([&] { return link->pods() == 0; }));
  EXPECT_EQ(lanes[1].calls.back(), "remove 1");
}

TEST_F(AgentLinkTest, TakesAReleasedPodBack) {
  serve_first_pod();
  pod_remove(1001, 1);
  upsert(pod(1));
  EXPECT_EQ(next().pod_ack().id(), 1u);
  // Longer than the grace was.
  Timer later(loop, [] {});
  later.arm(std::chrono::milliseconds(1200));
  ASSERT_TRUE(run_until([&] { return !later.armed(); }));
  EXPECT_EQ(link->pods(), 1u);
  EXPECT_EQ(lanes[0].calls.back(), "upsert 1 with listeners");
}

TEST_F(AgentLinkTest, SurvivesGarbageAndUnknownMessages) {
  link->start();
  welcome();
  ASSERT_TRUE(send_unix(agent.get(), "\xff\xff\xff garbage"));
  ASSERT_TRUE(send_unix(agent.get(), std::string("\xfa\x3e\x00", 3)));  // a field of the future
  upsert(pod(1));
  EXPECT_EQ(next().pod_ack().id(), 1u);
}

TEST_F(AgentLinkTest, DrainsWhenTheAgentSaysSoAndCutsWhatIsLeft) {
  std::size_t cut = 0;
  bool done = false;
  Drain drain(loop, {&lanes[0], &lanes[1]}, [&](std::size_t connections) {
    cut = connections;
    done = true;
    link->send_drained(static_cast<std::uint32_t>(connections));
  });
  link->start();
  welcome();
  node::ToProxy message;
  message.mutable_drain()->set_grace_seconds(9);
  say(message);
  ASSERT_TRUE(run_until([&] { return !observed.calls.empty() && observed.calls.back() == "drain 9"; }));
  drain.begin(std::chrono::milliseconds(20), std::chrono::milliseconds(10));
  lanes[0].empty();
  ASSERT_TRUE(run_until([&] { return done; }));
  EXPECT_EQ(cut, 6u);
  EXPECT_EQ(next().drained().connections_cut(), 6u);
  node::ToProxy answer;
  answer.mutable_holding();
  say(answer);
  EXPECT_TRUE(run_until([&] { return observed.calls.back() == "held"; }));
}

// The next node's proxy, or this node's agent, is replaced at the same time.
TEST_F(AgentLinkTest, ADrainCutsNobodyWhileSomebodyWaitsForAnUpstream) {
  bool done = false;
  Drain drain(loop, {&lanes[0], &lanes[1]}, [&](std::size_t) { done = true; });
  lanes[1].waiting = 1;
  drain.begin(std::chrono::milliseconds(20), std::chrono::milliseconds(10));
  const auto lasts = [&](std::chrono::milliseconds time) {
    Timer timer(loop, [] {});
    timer.arm(time);
    run_until([&] { return !timer.armed() || done; });
    return !done;
  };
  EXPECT_TRUE(lasts(std::chrono::milliseconds(500)));
  lanes[1].waiting = 0;
  EXPECT_TRUE(lasts(std::chrono::milliseconds(500))) << "it is to be answered";
  ASSERT_TRUE(run_until([&] { return done; }));
  EXPECT_EQ(lanes[0].calls.back(), "cut");
}

TEST_F(AgentLinkTest, ADrainThatIsBegunAgainOnlyGetsShorter) {
  bool done = false;
  Drain drain(loop, {&lanes[0]}, [&](std::size_t) { done = true; });
  drain.begin(std::chrono::milliseconds(20), std::chrono::milliseconds(10));
  drain.begin(std::chrono::hours(1), std::chrono::hours(1));
  ASSERT_TRUE(run_until([&] { return done; }));
  EXPECT_EQ(lanes[0].calls, (std::vector<std::string>{"drain", "end idle", "cut"}));
}

TEST_F(AgentLinkTest, TrustsNobodyButTheAgentsUser) {
  AgentLink::Options options;
  options.socket_path = path;
  options.agent_uid = ::getuid() + 1;
  options.backoff = {std::chrono::milliseconds(1), std::chrono::milliseconds(2), 0};
  AgentLink other(loop, options, observed);
  other.serve_lanes({&lanes[0]});
  other.start();
  accept();
  run_until([n = 0]() mutable { return ++n > 5; });
  auto got = receive_unix(agent.get());
  ASSERT_FALSE(got) << "it spoke to a stranger";
}

}  // namespace
}  // namespace heddle::proxy
