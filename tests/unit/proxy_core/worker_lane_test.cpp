// SPDX-License-Identifier: Apache-2.0
#include "proxy/listen/worker_lane.h"

#include <optional>

#include "proxy/outbound/outbound.h"
#include "tests/unit/proxy_core/rig.h"
#include "tests/unit/proxy_core/tcp_pair.h"

namespace heddle::proxy {
namespace {

struct Told final : Connection {
  using Connection::Connection;
  void drain() override {}
  void abort() override {}
  void policy_changed(const PodRef& now) override { policies.push_back(now->policy); }
  std::vector<InboundPolicy> policies;
};

TEST(WorkerLane, TellsLiveConnectionsOfAChangedPolicyAndOfNothingElse) {
  test::Rig rig;
  WorkerLane lane(rig.worker, *rig.pods, *rig.dialer);
  auto pod = std::make_shared<Pod>(*rig.add_pod(1, "127.0.0.9"));
  auto listeners = std::make_shared<PodListeners>();
  test::Server outbound, inbound;
  listeners->outbound = std::move(outbound.listener);
  listeners->inbound = std::move(inbound.listener);
  int served = 0;
  const auto serve = [&](const std::shared_ptr<Pod>& description) {
    lane.upsert(description, listeners, [&](const std::string& error) {
      EXPECT_EQ(error, "");
      ++served;
    });
    const int before = served;
    EXPECT_TRUE(rig.run_until([&] { return served > before; }));
  };
  serve(pod);
  auto connection = std::make_unique<Told>(pod);
  const Told& told = *connection;
  ASSERT_TRUE(rig.worker.connections->adopt(std::move(connection)));
  auto relabelled = std::make_shared<Pod>(*pod);
  relabelled->labels["version"] = "2";
  serve(relabelled);
  EXPECT_TRUE(told.policies.empty());
  auto tightened = std::make_shared<Pod>(*relabelled);
  tightened->policy = InboundPolicy::deny;
  serve(tightened);
  EXPECT_EQ(told.policies, std::vector<InboundPolicy>{InboundPolicy::deny});
  serve(tightened);
  EXPECT_EQ(told.policies.size(), 1u);
}

TEST(WorkerLane, IsAForwardProxyForAppsThatDialTheListenerFromWithinThePod) {
  test::Rig rig;
  rig.worker.mesh_pool = make_mesh_pool(rig.worker);
  rig.worker.http_pool = make_http_pool(rig.worker);
  WorkerLane lane(rig.worker, *rig.pods, *rig.dialer);
  const auto answer_at = [&](std::uint32_t id, int port_difference) {
    test::Server outbound, inbound;
    auto pod = std::make_shared<Pod>(*rig.add_pod(id, "127.0.0.9"));
    pod->outbound_port = static_cast<std::uint16_t>(outbound.address.port + port_difference);
    auto listeners = std::make_shared<PodListeners>();
    const SocketAddress address = outbound.address;
    listeners->outbound = std::move(outbound.listener);
    listeners->inbound = std::move(inbound.listener);
    bool served = false;
    lane.upsert(pod, listeners, [&](const std::string&) { served = true; });
    EXPECT_TRUE(rig.run_until([&] { return served; }));
    sockaddr_storage to{};
    const socklen_t size = address.to_sockaddr(to);
    const Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&to), size), 0);
    const std::string request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    // What is not accepted may be reset before this is sent.
    (void)::send(client.get(), request.data(), request.size(), MSG_NOSIGNAL);
    std::string got;
    EXPECT_TRUE(rig.run_until([&] {
      got += test::read_all(client.get());
      return got.find("<") != std::string::npos;
    }));
    return got;
  };
  EXPECT_NE(answer_at(1, 0).find("l5d-proxy-error: this is a forward proxy"), std::string::npos);
  EXPECT_EQ(answer_at(2, 1), "<reset>") << "nobody's port: it was neither redirected nor meant";
}

// What was handed on and is still on its way when no connection is left.
struct LastBytes {
  std::size_t of_tls = 0;
  bool of_tunnels = false;
};
struct ClosingTls final : tls::Endpoint {
  explicit ClosingTls(LastBytes& bytes) : last(bytes) {}
  std::unique_ptr<tls::Handshake> connect(std::unique_ptr<Stream>, PodRef, std::string, std::string,
                                          std::vector<std::string>, std::chrono::milliseconds,
                                          tls::Done) override {
    return nullptr;
  }
  std::unique_ptr<tls::Handshake> accept(std::unique_ptr<Stream>, PodRef, const IpAddress&,
                                         std::vector<std::string>, std::chrono::milliseconds,
                                         tls::Done) override {
    return nullptr;
  }
  bool certified(const Pod&) const override { return true; }
  std::size_t closing() const override { return last.of_tls; }
  LastBytes& last;
};
struct SendingPool final : MeshPool {
  SendingPool(Worker& worker, LastBytes& bytes) : real(make_mesh_pool(worker)), last(bytes) {}
  std::unique_ptr<Pending> open_tunnel(PodRef, EndpointRef, SocketAddress, std::chrono::milliseconds, Content,
                                       Done) override {
    return nullptr;
  }
  http::Client* acquire(const PodRef&, const EndpointRef&, bool, http::ClientWaiter&) override {
    return nullptr;
  }
  http::Engine& engine() override { return real->engine(); }
  void forget(std::uint32_t) override {}
  void drain() override {}
  bool has_streams() const override { return last.of_tunnels; }
  std::unique_ptr<MeshPool> real;
  LastBytes& last;
};

TEST(WorkerLane, IsNotDrainedWhileLastBytesAreOnTheirWay) {
  test::Rig rig;
  LastBytes last{1, true};
  rig.worker.tls = std::make_unique<ClosingTls>(last);
  rig.worker.mesh_pool = std::make_unique<SendingPool>(rig.worker, last);
  WorkerLane lane(rig.worker, *rig.pods, *rig.dialer);
  bool empty = false;
  lane.drain([&] { empty = true; });
  const auto stays = [&] { return !rig.run_until([&] { return empty; }, std::chrono::milliseconds(150)); };
  EXPECT_TRUE(stays()) << "the process would end, and with it what slow readers have not read";
  last.of_tls = 0;
  EXPECT_TRUE(stays());
  last.of_tunnels = false;
  EXPECT_TRUE(rig.run_until([&] { return empty; }));
}

TEST(WorkerLane, CountsWhoWaitsForAnUpstream) {
  test::Rig rig;
  rig.broker_away = true;
  rig.worker.mesh_pool = make_mesh_pool(rig.worker);
  WorkerLane lane(rig.worker, *rig.pods, *rig.dialer);
  const auto waiting = [&] {
    std::optional<std::size_t> count;
    lane.count_waiting([&](std::size_t counted) { count = counted; });
    EXPECT_TRUE(rig.run_until([&] { return count.has_value(); }));
    return count.value_or(0);
  };
  const PodRef pod = rig.add_pod(1, "127.0.0.9");
  test::TcpPair pair;
  test::Server app;
  EXPECT_EQ(waiting(), 0u);
  // No agent is there to give a socket.
  serve_outbound(rig.worker, pod, app.address, app.address,
                 make_tcp_stream(rig.worker.loop, std::move(pair.server)));
  ASSERT_TRUE(rig.run_until([&] { return waiting() != 0; }));
  rig.broker_away = false;
  rig.give(1, false, 1);
  Fd accepted;
  ASSERT_TRUE(rig.run_until([&] { return static_cast<bool>(accepted = app.accept()); }));
  EXPECT_TRUE(rig.run_until([&] { return waiting() == 0; }));
  lane.cut([](std::size_t) {});
  EXPECT_TRUE(rig.run_until([&] { return rig.worker.connections->size() == 0; }));
}

struct Ending final : Connection {
  Ending(const PodRef& owner, std::vector<std::string>& said) : Connection(owner), heard(said) {}
  void drain() override { heard.push_back("drain"); }
  void end_idle() override { heard.push_back("end idle"); }
  void abort() override { heard.push_back("abort"); }
  std::vector<std::string>& heard;
};

// A pod and what its lane, and another pod's connection beside it, are told.
struct RetiredPod : testing::Test {
  RetiredPod() {
    test::Server out, in;
    held->outbound = std::move(out.listener);
    held->inbound = std::move(in.listener);
    serve();
    EXPECT_TRUE(rig.worker.connections->adopt(std::make_unique<Ending>(pod, heard)));
    EXPECT_TRUE(
        rig.worker.connections->adopt(std::make_unique<Ending>(rig.add_pod(2, "127.0.0.10"), others)));
  }
  void serve() {
    bool served = false;
    lane.upsert(pod, held, [&](const std::string& error) {
      EXPECT_EQ(error, "");
      served = true;
    });
    EXPECT_TRUE(rig.run_until([&] { return served; }));
  }
  test::Rig rig;
  std::shared_ptr<PodListeners> held = std::make_shared<PodListeners>();
  PodRef pod = rig.add_pod(1, "127.0.0.9");
  WorkerLane lane{rig.worker, *rig.pods, *rig.dialer};
  std::vector<std::string> heard, others;
};

TEST_F(RetiredPod, KeepsItsConnectionsAndTellsThemToEnd) {
  lane.retire(1, pod->netns_cookie);
  ASSERT_TRUE(rig.run_until([&] { return heard.size() == 2; }));
  EXPECT_EQ(heard, (std::vector<std::string>{"drain", "end idle"}));
  EXPECT_EQ(rig.pods->by_address(pod->ips.front()), nullptr) << "nobody is joined to it any more";
  EXPECT_TRUE(pod->load->leaving);
  lane.remove(1, pod->netns_cookie);
  ASSERT_TRUE(rig.run_until([&] { return heard.size() == 3; }));
  EXPECT_EQ(heard.back(), "abort");
  EXPECT_TRUE(others.empty());
}

TEST_F(RetiredPod, IsServedAgainWhenItIsWantedAgain) {
  lane.retire(1, pod->netns_cookie);
  ASSERT_TRUE(rig.run_until([&] { return heard.size() == 1; }));
  const int asked = rig.requests;
  serve();
  EXPECT_FALSE(pod->load->leaving);
  EXPECT_EQ(rig.requests, asked + 1) << "sockets made while nothing was redirected have no tag";
  EXPECT_EQ(rig.pods->by_address(pod->ips.front()), pod);
}

TEST(WorkerLane, LeavesConnectionsBeyondThePodsRateInTheQueueUntilItAllowsThem) {
  test::Rig rig;
  const PodRef pod = rig.add_pod(1, "127.0.0.9");
  pod->load->limits.accepts_per_second = 50;
  test::Server outbound, inbound;
  const SocketAddress address = outbound.address;
  auto held = std::make_shared<PodListeners>();
  held->outbound = std::move(outbound.listener);
  held->inbound = std::move(inbound.listener);
  WorkerLane lane(rig.worker, *rig.pods, *rig.dialer);
  const auto began = Loop::Clock::now();
  lane.upsert(pod, held, [](const std::string& error) { EXPECT_EQ(error, ""); });
  std::vector<Fd> clients;
  for (int i = 0; i < 80; ++i) {
    clients.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage to{};
    const socklen_t size = address.to_sockaddr(to);
    ASSERT_EQ(::connect(clients.back().get(), reinterpret_cast<sockaddr*>(&to), size), 0);
  }
  // Nobody redirected them, so that each is reset as soon as it is accepted.
  std::size_t accepted = 0;
  const auto look = [&] {
    std::erase_if(clients, [&](const Fd& client) {
      const bool reset = test::read_all(client.get()) == "<reset>";
      accepted += reset ? 1 : 0;
      return reset;
    });
    const std::chrono::duration<double> passed = Loop::Clock::now() - began;
    EXPECT_LE(static_cast<double>(accepted), 50 + 50 * passed.count() + 1);
    return accepted;
  };
  EXPECT_TRUE(rig.run_until([&] { return look() >= 50; }, std::chrono::seconds(20)));
  EXPECT_TRUE(rig.run_until([&] { return look() == 80; }, std::chrono::seconds(20)))
      << "they waited for nothing";
  const auto waits = pod->load->limited[static_cast<std::size_t>(Limit::accept_rate)].load();
  EXPECT_GT(waits, 0u);
  EXPECT_LT(waits, 60u) << "it looked again although there was nothing it could do";
}

}  // namespace
}  // namespace heddle::proxy
