// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <cerrno>

#include "tests/bpf/fixture.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

namespace heddle::agent {
namespace {

using namespace heddle::test;

class Outbound : public DatapathTest {
 protected:
  void SetUp() override { enrol(); }

  sockaddr_storage to(const std::string& text, socklen_t& size, bool as_v6 = false) {
    sockaddr_storage storage{};
    size = SocketAddress::parse(text).value().to_sockaddr(storage, as_v6);
    return storage;
  }
};

TEST_F(Outbound, CapturesAnIpv4ConnectAndTellsTheProxyWhereItWasGoing) {
  auto captured = capture(app_->make(AF_INET), "10.96.0.10:80");
  EXPECT_TRUE(send_all(captured.app, "ping"));
  EXPECT_EQ(read_exactly(captured.proxy, 4), "ping");
  EXPECT_EQ(peer_of(captured.proxy).ip.to_string(), "10.77.0.2") << "the proxy sees the pod's own address";
  EXPECT_EQ(count(HEDDLE_V_OUT_REDIRECTED), 1u) << counts_text();
}

TEST_F(Outbound, CapturesAnIpv6Connect) {
  capture(app_->make(AF_INET6), "[fd99::10]:80");
}

TEST_F(Outbound, CapturesAV4MappedConnectOfAnIpv6Socket) {
  const auto captured = capture(app_->make(AF_INET6), "10.96.0.10:80");
  EXPECT_EQ(peer_of(captured.app).to_string(), "10.96.0.10:80");
}

TEST_F(Outbound, CapturesADestinationWithoutARoute) {
  must_run_in(pod_netns_.get(), "ip route del default");
  capture(app_->make(AF_INET), "10.96.0.10:80");
}

TEST_F(Outbound, ShowsTheAppItsOriginalDestinationAndItsOwnAddress) {
  const auto v4 = capture(app_->make(AF_INET), "10.96.0.10:80");
  EXPECT_EQ(peer_of(v4.app).to_string(), "10.96.0.10:80");
  EXPECT_EQ(local_of(v4.app).ip.to_string(), "10.77.0.2");
  const auto v6 = capture(app_->make(AF_INET6), "[fd99::10]:443");
  EXPECT_EQ(peer_of(v6.app).to_string(), "[fd99::10]:443");
  EXPECT_EQ(local_of(v6.app).ip.to_string(), "fd77::2");
}

TEST_F(Outbound, CapturesANonBlockingConnectWithASecondConnectCall) {
  Fd app = app_->make(AF_INET, SOCK_STREAM | SOCK_NONBLOCK);
  socklen_t size = 0;
  const auto dst = to("10.96.0.10:80", size);
  const int first = ::connect(app.get(), reinterpret_cast<const sockaddr*>(&dst), size);
  EXPECT_TRUE(first == 0 || errno == EINPROGRESS) << errno;
  pollfd one{app.get(), POLLOUT, 0};
  ASSERT_EQ(::poll(&one, 1, 5000), 1);
  int error = -1;
  socklen_t error_size = sizeof error;
  ASSERT_EQ(::getsockopt(app.get(), SOL_SOCKET, SO_ERROR, &error, &error_size), 0);
  EXPECT_EQ(error, 0);
  EXPECT_EQ(::connect(app.get(), reinterpret_cast<const sockaddr*>(&dst), size), 0) << "reports success once";
  EXPECT_EQ(::connect(app.get(), reinterpret_cast<const sockaddr*>(&dst), size), -1);
  EXPECT_EQ(errno, EISCONN);
  EXPECT_EQ(peer_of(app).to_string(), "10.96.0.10:80");
  const Fd proxy = accept_from(outbound_);
  EXPECT_EQ(original_dst(proxy).to_string(), "10.96.0.10:80");
}

TEST_F(Outbound, CapturesTcpFastOpenBySendto) {
  in_netns(pod_netns_.get(), [] {});
  must_run_in(pod_netns_.get(), "sysctl -q -w net.ipv4.tcp_fastopen=1027");
  const int queue = 16;
  ASSERT_EQ(::setsockopt(outbound_.get(), IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue), 0);
  for (int i = 0; i < 20; ++i) {
    const Fd app = app_->make(AF_INET);
    const std::string text = "10.96.0.10:" + std::to_string(8000 + i);
    socklen_t size = 0;
    const auto dst = to(text, size);
    ASSERT_EQ(::sendto(app.get(), "hello", 5, MSG_FASTOPEN, reinterpret_cast<const sockaddr*>(&dst), size), 5)
        << errno;
    const Fd proxy = accept_from(outbound_);
    int error = 0;
    EXPECT_EQ(original_dst(proxy, &error).to_string(), text) << "attempt " << i << " errno " << error;
    EXPECT_EQ(read_exactly(proxy, 5), "hello");
    EXPECT_EQ(peer_of(app).to_string(), text);
    EXPECT_TRUE(send_all(proxy, "there"));
    EXPECT_EQ(read_exactly(app, 5), "there");
  }
}

TEST_F(Outbound, CapturesTcpFastOpenConnect) {
  must_run_in(pod_netns_.get(), "sysctl -q -w net.ipv4.tcp_fastopen=1027");
  const int queue = 16;
  ASSERT_EQ(::setsockopt(outbound_.get(), IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof queue), 0);
  for (int i = 0; i < 20; ++i) {
    const Fd app = app_->make(AF_INET);
    const int on = 1;
    ASSERT_EQ(::setsockopt(app.get(), IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof on), 0);
    const std::string text = "10.96.0.10:" + std::to_string(8000 + i);
    ASSERT_EQ(connect_to(app, text), 0);
    ASSERT_TRUE(send_all(app, "hello"));
    const Fd proxy = accept_from(outbound_);
    int error = 0;
    EXPECT_EQ(original_dst(proxy, &error).to_string(), text) << "attempt " << i << " errno " << error;
    EXPECT_EQ(read_exactly(proxy, 5), "hello");
  }
}

TEST_F(Outbound, CapturesSocketsThatWereBoundBefore) {
  for (const char* address : {"10.77.0.2:0", "10.77.0.2:23456", "0.0.0.0:23457"}) {
    Fd app = app_->make(AF_INET);
    ASSERT_EQ(bind_to(app, address), 0) << address;
    capture(std::move(app), "10.96.0.10:80");
  }
  Fd app6 = app_->make(AF_INET6);
  ASSERT_EQ(bind_to(app6, "[fd77::2]:23458"), 0);
  capture(std::move(app6), "[fd99::10]:80");
}

TEST_F(Outbound, CapturesASocketBoundToADevice) {
  Fd app = app_->make(AF_INET);
  ASSERT_EQ(::setsockopt(app.get(), SOL_SOCKET, SO_BINDTODEVICE, "eth0", 4), 0);
  capture(std::move(app), "10.96.0.10:80");
}

TEST_F(Outbound, CapturesAnMptcpSocket) {
  Fd app = app_->make(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
  if (!app) GTEST_SKIP() << "this kernel has no MPTCP";
  auto captured = capture(std::move(app), "10.96.0.10:80");
  EXPECT_TRUE(send_all(captured.app, "ping"));
  EXPECT_EQ(read_exactly(captured.proxy, 4), "ping");
}

TEST_F(Outbound, LeavesUdpAlone) {
  const Fd server = neighbour_->make(AF_INET, SOCK_DGRAM);
  ASSERT_EQ(bind_to(server, "10.77.0.1:5353"), 0);
  const Fd app = app_->make(AF_INET, SOCK_DGRAM);
  ASSERT_EQ(connect_to(app, "10.77.0.1:5353"), 0);
  EXPECT_EQ(peer_of(app).to_string(), "10.77.0.1:5353");
  ASSERT_TRUE(send_all(app, "query"));
  EXPECT_EQ(read_exactly(server, 5), "query");
}

TEST_F(Outbound, LeavesLoopbackAndThePodsOwnAddressesAlone) {
  const Fd server = app_->make(AF_INET6);
  listen_on(server, "[::]:8080");
  for (const auto& [family, dst] : {std::pair{AF_INET, "127.0.0.1:8080"},
                                    {AF_INET6, "[::1]:8080"},
                                    {AF_INET, "10.77.0.2:8080"},
                                    {AF_INET6, "[fd77::2]:8080"},
                                    {AF_INET6, "127.0.0.1:8080"},
                                    {AF_INET, "0.0.0.0:8080"}}) {
    const Fd app = app_->make(family);
    EXPECT_EQ(connect_to(app, dst), 0) << dst << " " << counts_text();
    const Fd accepted = accept_from(server);
    EXPECT_TRUE(accepted) << dst << " " << counts_text();
    EXPECT_EQ(peer_of(accepted).to_string(), local_of(app).to_string()) << dst;
  }
  EXPECT_EQ(count(HEDDLE_V_OUT_LOOPBACK), 6u) << counts_text();
  EXPECT_EQ(count(HEDDLE_V_OUT_REDIRECTED), 0u) << counts_text();
}

TEST_F(Outbound, ForgetsTheDestinationWhenTheSocketReconnectsElsewhere) {
  auto captured = capture(app_->make(AF_INET), "10.96.0.10:80");
  const Fd server = app_->make(AF_INET);
  listen_on(server, "127.0.0.1:8080");
  sockaddr nowhere{};
  nowhere.sa_family = AF_UNSPEC;
  ASSERT_EQ(::connect(captured.app.get(), &nowhere, sizeof nowhere), 0) << errno;
  ASSERT_EQ(connect_to(captured.app, "127.0.0.1:8080"), 0);
  EXPECT_EQ(peer_of(captured.app).to_string(), "127.0.0.1:8080");
  // And back into the mesh.
  ASSERT_EQ(::connect(captured.app.get(), &nowhere, sizeof nowhere), 0);
  capture(std::move(captured.app), "10.96.0.11:81");
}

TEST_F(Outbound, SkipsPorts) {
  pod_.skip_outbound_ports = {{9000, 9010}, {25, 25}};
  enrol_again();
  const Fd server = neighbour_->make(AF_INET);
  listen_on(server, "10.77.0.1:9005");
  const Fd app = app_->make(AF_INET);
  ASSERT_EQ(connect_to(app, "10.77.0.1:9005"), 0) << counts_text();
  EXPECT_TRUE(accept_from(server));
  EXPECT_EQ(count(HEDDLE_V_OUT_SKIP_PORT), 1u) << counts_text();
  capture(app_->make(AF_INET), "10.77.0.1:9011");
}

TEST_F(Outbound, SkipsSubnets) {
  pod_.skip_cidrs = {Cidr::parse("10.77.0.8/29").value(), Cidr::parse("fd77::1/128").value()};
  enrol_again();
  const Fd server = neighbour_->make(AF_INET6);
  listen_on(server, "[::]:9005");
  for (const auto& [family, dst] : {std::pair{AF_INET, "10.77.0.9:9005"}, {AF_INET6, "[fd77::1]:9005"}}) {
    const Fd app = app_->make(family);
    ASSERT_EQ(connect_to(app, dst), 0) << dst << " " << counts_text();
    EXPECT_TRUE(accept_from(server));
  }
  EXPECT_EQ(count(HEDDLE_V_OUT_SKIP_CIDR), 2u) << counts_text();
  capture(app_->make(AF_INET), "10.77.0.1:9005");
}

TEST_F(Outbound, TellsAProxyThatTheListenerWasDialledDirectly) {
  const Fd app = app_->make(AF_INET);
  ASSERT_EQ(connect_to(app, "10.77.0.2:4140"), 0);
  const Fd proxy = accept_from(outbound_);
  int error = 0;
  original_dst(proxy, &error);
  EXPECT_EQ(error, ENOENT);
  EXPECT_EQ(count(HEDDLE_V_ORIGINAL_DST_MISSING), 1u) << counts_text();
  std::vector<DropEvent> drops;
  EXPECT_TRUE(eventually([&] {
    datapath_->read_drops([&](const DropEvent& drop) { drops.push_back(drop); });
    return !drops.empty();
  }));
  ASSERT_EQ(drops.size(), 1u);
  EXPECT_EQ(drops[0].verdict, HEDDLE_V_ORIGINAL_DST_MISSING);
  EXPECT_EQ(drops[0].pod_id, pod_.id);
  EXPECT_EQ(drops[0].local.to_string(), "10.77.0.2:4140");
  EXPECT_EQ(drops[0].remote.to_string(), local_of(app).to_string());
}

TEST_F(Outbound, GivesAFloodOfDropsInPortions) {
  constexpr std::size_t dials = 300;
  for (std::size_t i = 0; i < dials; ++i) {
    const Fd app = app_->make(AF_INET);
    ASSERT_EQ(connect_to(app, "10.77.0.2:4140"), 0);
    const Fd proxy = accept_from(outbound_);
    int error = 0;
    original_dst(proxy, &error);
  }
  std::size_t all = 0;
  std::size_t most = 0;
  const auto read = [&] {
    std::size_t now = 0;
    datapath_->read_drops([&](const DropEvent&) { ++now; });
    all += now;
    most = std::max(most, now);
  };
  read();
  EXPECT_LT(all, dials) << "a flood would keep the thread";
  pollfd rest{datapath_->drops_fd(), POLLIN, 0};
  EXPECT_EQ(::poll(&rest, 1, 0), 1) << "nobody would come for the rest";
  EXPECT_TRUE(eventually([&] {
    read();
    return all >= dials;
  }));
  EXPECT_EQ(all, dials);
  EXPECT_LE(most, 256u);
}

TEST_F(Outbound, DirectDialsStayRefusedWhenConntrackWouldAnswer) {
  // A nat rule turns connection tracking on in the pod, whose answer would be the listener itself.
  must_run_in(pod_netns_.get(),
              "nft 'add table ip t; add chain ip t c { type nat hook output priority 0; }; "
              "add rule ip t c tcp dport 1 redirect to :2'");
  const Fd app = app_->make(AF_INET);
  ASSERT_EQ(connect_to(app, "10.77.0.2:4140"), 0);
  const Fd proxy = accept_from(outbound_);
  int error = 0;
  original_dst(proxy, &error);
  EXPECT_EQ(error, ENOENT);
  capture(app_->make(AF_INET), "10.96.0.10:80");
}

TEST_F(Outbound, AnswersOriginalDstToBuffersOfAnySufficientSize) {
  const Fd app = app_->make(AF_INET);
  ASSERT_EQ(connect_to(app, "10.96.0.10:80"), 0);
  const Fd proxy = accept_from(outbound_);
  char buffer[128];
  socklen_t size = 8;
  EXPECT_EQ(::getsockopt(proxy.get(), SOL_IP, 80, buffer, &size), -1);
  EXPECT_EQ(errno, EINVAL);
  for (const socklen_t given : {16u, 28u, 128u}) {
    size = given;
    EXPECT_EQ(::getsockopt(proxy.get(), SOL_IP, 80, buffer, &size), 0) << given;
    EXPECT_EQ(size, 16u) << given;
    size = given;
    EXPECT_EQ(::getsockopt(proxy.get(), SOL_IP, 80, buffer, &size), -1) << "an answer is given once";
    local_of(proxy);
  }
}

TEST_F(Outbound, FindsTheDestinationAgainWhichHadToMakeRoom) {
  for (const auto& [family, dst] :
       {std::pair{AF_INET, "10.96.0.10:80"}, {AF_INET6, "[fd99::10]:81"}, {AF_INET6, "10.96.0.11:82"}}) {
    const Fd app = app_->make(family);
    ASSERT_EQ(connect_to(app, dst), 0);
    forget_destinations();
    const Fd proxy = accept_from(outbound_);
    int error = 0;
    EXPECT_EQ(original_dst(proxy, &error).to_string(), dst) << error << " " << counts_text();
  }
  EXPECT_EQ(count(HEDDLE_V_ORIGINAL_DST_MISSING), 0u) << counts_text();
}

TEST_F(Outbound, KnowsTheDestinationOfAnAppThatIsGoneAlready) {
  Fd app = app_->make(AF_INET);
  ASSERT_EQ(connect_to(app, "10.96.0.10:80"), 0);
  ASSERT_TRUE(send_all(app, "log"));
  app.reset();
  const Fd proxy = accept_from(outbound_);
  EXPECT_EQ(original_dst(proxy).to_string(), "10.96.0.10:80") << counts_text();
  EXPECT_EQ(read_exactly(proxy, 3), "log");
}

TEST_F(Outbound, KnowsTheDestinationOfAConnectionThatWasReset) {
  for (const bool known : {true, false}) {
    Fd app = app_->make(AF_INET);
    ASSERT_EQ(connect_to(app, "10.96.0.10:80"), 0);
    const linger now{1, 0};
    ::setsockopt(app.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    app.reset();
    if (!known) forget_destinations();
    const Fd proxy = accept_from(outbound_);
    sockaddr_in answer{};
    socklen_t size = sizeof answer;
    const int result = ::getsockopt(proxy.get(), SOL_IP, 80, &answer, &size);
    EXPECT_EQ(result, known ? 0 : -1);
    if (known)
      EXPECT_EQ(ntohs(answer.sin_port), 80);
    else
      EXPECT_EQ(errno, ENOENT);
  }
}

TEST_F(Outbound, TakesNoDestinationFromAnEarlierConnectionOfThePort) {
  for (const auto& [family, ip] : {std::pair{AF_INET, "10.77.0.2"}, {AF_INET6, "[fd77::2]"}}) {
    const std::string from = std::string(ip) + ":45001";
    {
      const Fd app = app_->make(family);
      ASSERT_EQ(bind_to(app, from), 0);
      ASSERT_EQ(connect_to(app, family == AF_INET ? "10.96.0.10:80" : "[fd99::10]:80"), 0);
      const linger now{1, 0};
      ::setsockopt(app.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    accept_from(outbound_);  // and nobody asks
    const Fd direct = app_->make(family);
    ASSERT_EQ(bind_to(direct, from), 0);
    ASSERT_EQ(connect_to(direct, std::string(ip) + ":4140"), 0);
    const Fd proxy = accept_from(outbound_);
    int error = 0;
    original_dst(proxy, &error);
    EXPECT_EQ(error, ENOENT);
    const linger now{1, 0};
    ::setsockopt(direct.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
}

TEST_F(Outbound, CountsNoMissingDestinationOfWhatComesFromElsewhereToThatPort) {
  const Fd client = neighbour_->make(AF_INET);
  ASSERT_EQ(connect_to(client, "10.77.0.2:4140"), 0);
  const Fd proxy = accept_from(inbound_);
  EXPECT_EQ(local_of(proxy).to_string(), "10.77.0.2:4140");
  EXPECT_EQ(count(HEDDLE_V_ORIGINAL_DST_MISSING), 0u) << counts_text();
}

TEST_F(Outbound, RefusesAFamilyInWhichThePodHasNoAddress) {
  must_run_in(pod_netns_.get(), "ip -6 addr flush dev eth0");
  std::erase_if(pod_.addresses, [](const IpAddress& ip) { return !ip.is_v4(); });
  enrol_again();
  const Fd app = app_->make(AF_INET6);
  EXPECT_EQ(connect_to(app, "[fd99::10]:80"), -ENETUNREACH);
  EXPECT_EQ(count(HEDDLE_V_OUT_REFUSED), 1u) << counts_text();
  capture(app_->make(AF_INET6), "10.96.0.10:80");
}

TEST_F(Outbound, PassesTheMeshsOwnSocketsEvenBelowThePodsCgroup) {
  // As when the agent is itself a pod.
  const Fd server = neighbour_->make(AF_INET);
  listen_on(server, "10.77.0.1:9005");
  const Fd brokered = app_->make(AF_INET);
  ASSERT_TRUE(datapath_->tag_socket(brokered.get(), pod_.id));
  ASSERT_EQ(connect_to(brokered, "10.77.0.1:9005"), 0) << counts_text();
  EXPECT_TRUE(accept_from(server));
  EXPECT_EQ(count(HEDDLE_V_OUT_MESH_SOCKET), 1u) << counts_text();
}

TEST_F(Outbound, IsRefusedWithoutAListenerAndOpenOnlyByChoice) {
  outbound_.reset();
  inbound_.reset();
  const Fd server = neighbour_->make(AF_INET);
  listen_on(server, "10.77.0.1:9005");
  EXPECT_EQ(connect_to(app_->make(AF_INET), "10.77.0.1:9005"), -ECONNREFUSED) << counts_text();
  EXPECT_FALSE(readable(server, std::chrono::milliseconds(0)));
  pod_.fail_open = true;
  make_listeners();
  enrol_again();
  capture(app_->make(AF_INET), "10.77.0.1:9005");
  outbound_.reset();
  inbound_.reset();
  EXPECT_EQ(connect_to(app_->make(AF_INET), "10.77.0.1:9005"), 0) << counts_text();
  EXPECT_TRUE(accept_from(server));
  EXPECT_EQ(count(HEDDLE_V_OUT_FAIL_OPEN), 1u) << counts_text();
}

TEST_F(Outbound, RecoversEveryDestinationOfManyConnectionsAtOnce) {
  constexpr int rounds = 20;
  constexpr int at_once = 100;
  int right = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<Fd> apps;
    for (int i = 0; i < at_once; ++i) {
      apps.push_back(app_->make(i % 2 == 0 ? AF_INET : AF_INET6));
      const auto dst = "10.96." + std::to_string(round) + "." + std::to_string(i) + ":80";
      ASSERT_EQ(connect_to(apps.back(), dst), 0);
    }
    for (int i = 0; i < at_once; ++i) {
      const Fd proxy = accept_from(outbound_);
      const auto original = original_dst(proxy);
      for (const auto& app : apps) {
        if (local_of(app) == peer_of(proxy)) right += original == peer_of(app) ? 1 : 0;
      }
    }
  }
  EXPECT_EQ(right, rounds * at_once) << counts_text();
  EXPECT_EQ(map_entries("connects"), 0) << "each accepted connection takes its entry along";
}

}  // namespace
}  // namespace heddle::agent
