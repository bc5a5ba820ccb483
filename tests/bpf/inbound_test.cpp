// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>
#include <cerrno>

#include "tests/bpf/fixture.h"

namespace heddle::agent {
namespace {

using namespace heddle::test;

class Inbound : public DatapathTest {
 protected:
  // The neighbour dials the pod; the connection must be at the inbound listener, its destination the local
  // address.
  void expect_steered(int family, const std::string& dst) {
    const Fd client = neighbour_->make(family);
    ASSERT_EQ(connect_to(client, dst), 0) << dst << " " << counts_text();
    const Fd proxy = accept_from(inbound_);
    ASSERT_TRUE(proxy) << dst << " did not reach the inbound listener; " << counts_text();
    EXPECT_EQ(local_of(proxy).to_string(), dst);
    EXPECT_EQ(peer_of(proxy).to_string(), local_of(client).to_string());
    ASSERT_TRUE(send_all(client, "ping"));
    EXPECT_EQ(read_exactly(proxy, 4), "ping");
  }
  void expect_app(const SocketMaker& from, const Fd& app, const std::string& dst) {
    const Fd client = from.make(AF_INET);
    ASSERT_EQ(connect_to(client, dst), 0) << dst << " " << counts_text();
    EXPECT_TRUE(accept_from(app)) << dst << " did not reach the app; " << counts_text();
  }
};

TEST_F(Inbound, SteersEveryPortToTheListenerWhateverTheAppListensOn) {
  enrol();
  const Fd any = app_->make(AF_INET);
  listen_on(any, "0.0.0.0:80");
  const Fd own = app_->make(AF_INET);
  listen_on(own, "10.77.0.2:81");
  const Fd six = app_->make(AF_INET6);
  listen_on(six, "[::]:82");
  expect_steered(AF_INET, "10.77.0.2:80");
  expect_steered(AF_INET, "10.77.0.2:81");
  expect_steered(AF_INET, "10.77.0.2:82");
  expect_steered(AF_INET6, "[fd77::2]:82");
  expect_steered(AF_INET, "10.77.0.2:9999");  // nobody listens: the proxy will find out
  expect_steered(AF_INET, "10.77.0.2:4140");  // a stranger cannot dial the outbound listener
  expect_steered(AF_INET, "10.77.0.2:4143");
  EXPECT_EQ(count(HEDDLE_V_IN_STEERED), 7u) << counts_text();
}

TEST_F(Inbound, SteersFromPrepareOnBeforeThePodIsEnrolled) {
  enrol();
  ASSERT_TRUE(datapath_->set_enrolled(pod_, false));
  expect_steered(AF_INET, "10.77.0.2:80");
}

TEST_F(Inbound, LetsTheProxyAndThePodReachTheAppOverTheOwnAddress) {
  enrol();
  const Fd app = app_->make(AF_INET6);
  listen_on(app, "[::]:80");
  expect_app(*mesh_, app, "10.77.0.2:80");
  expect_app(*app_, app, "10.77.0.2:80");
  expect_app(*mesh_, app, "127.0.0.1:80");
  EXPECT_EQ(count(HEDDLE_V_IN_LOCAL), 2u) << counts_text();
  EXPECT_EQ(count(HEDDLE_V_IN_STEERED), 0u) << counts_text();
}

TEST_F(Inbound, TakesTheOtherAddressesOfThePodForItsOwn) {
  must_run_in(pod_netns_.get(), "ip addr add 10.77.0.22/24 dev eth0");
  pod_.addresses.push_back(IpAddress::parse("10.77.0.22").value());
  enrol();
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  const Fd client = mesh_->make(AF_INET);
  ASSERT_EQ(bind_to(client, "10.77.0.22:0"), 0);
  ASSERT_EQ(connect_to(client, "10.77.0.2:80"), 0) << counts_text();
  EXPECT_TRUE(accept_from(app)) << counts_text();
  expect_steered(AF_INET, "10.77.0.22:80");
}

TEST_F(Inbound, BreaksTheLoopOfAPodThatDialsItsOwnInboundListener) {
  enrol();
  EXPECT_EQ(connect_to(app_->make(AF_INET), "10.77.0.2:4143"), -ECONNREFUSED);
  EXPECT_EQ(connect_to(mesh_->make(AF_INET6), "[fd77::2]:4143"), -ECONNREFUSED);
  EXPECT_EQ(count(HEDDLE_V_IN_DROP_SELF), 2u) << counts_text();
}

TEST_F(Inbound, SkipsPortsAndSources) {
  pod_.skip_inbound_ports = {{8080, 8081}};
  pod_.skip_cidrs = {Cidr::parse("10.77.0.9").value()};
  enrol();
  const Fd skipped = app_->make(AF_INET);
  listen_on(skipped, "0.0.0.0:8081");
  expect_app(*neighbour_, skipped, "10.77.0.2:8081");
  EXPECT_EQ(count(HEDDLE_V_IN_SKIP_PORT), 1u) << counts_text();
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  const Fd client = neighbour_->make(AF_INET);
  ASSERT_EQ(bind_to(client, "10.77.0.9:0"), 0);
  ASSERT_EQ(connect_to(client, "10.77.0.2:80"), 0);
  EXPECT_TRUE(accept_from(app)) << counts_text();
  EXPECT_EQ(count(HEDDLE_V_IN_SKIP_CIDR), 1u) << counts_text();
  expect_steered(AF_INET, "10.77.0.2:80");
}

TEST_F(Inbound, LetsKubeletsProbesPassAndNobodyElseOfTheNode) {
  enrol();
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  expect_app(*kubelet_, app, "10.77.0.2:80");
  EXPECT_EQ(count(HEDDLE_V_IN_PROBE), 1u) << counts_text();
  expect_steered(AF_INET, "10.77.0.2:80");
}

TEST_F(Inbound, ForgetsAProbeWhenItEnds) {
  enrol();
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  std::uint16_t port = 0;
  {
    const Fd probe = kubelet_->make(AF_INET);
    ASSERT_EQ(connect_to(probe, "10.77.0.2:80"), 0);
    port = local_of(probe).port;
    const Fd accepted = accept_from(app);
    const linger reset{1, 0};
    ::setsockopt(probe.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
  // Another process of the node with the same source port is not kubelet.
  const Fd other = neighbour_->make(AF_INET);
  ASSERT_EQ(bind_to(other, "10.77.0.1:" + std::to_string(port)), 0);
  ASSERT_EQ(connect_to(other, "10.77.0.2:80"), 0);
  EXPECT_TRUE(accept_from(inbound_)) << counts_text();
}

TEST_F(Inbound, GoesByTheNodesAddressWhenKubeletsCgroupIsUnknown) {
  use_probe_cgroup_ = false;
  auto with_node = options();
  with_node.node_addresses = {IpAddress::parse("10.77.0.9").value()};
  auto opened = Datapath::open(with_node);
  ASSERT_TRUE(opened) << opened.error().message();
  datapath_ = std::move(*opened);
  enrol();
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  const Fd client = neighbour_->make(AF_INET);
  ASSERT_EQ(bind_to(client, "10.77.0.9:0"), 0);
  ASSERT_EQ(connect_to(client, "10.77.0.2:80"), 0);
  EXPECT_TRUE(accept_from(app)) << counts_text();
  expect_steered(AF_INET, "10.77.0.2:80");
}

TEST_F(Inbound, ResetsEverythingWhenTheListenerIsGone) {
  enrol();
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  inbound_.reset();
  outbound_.reset();
  EXPECT_EQ(connect_to(neighbour_->make(AF_INET), "10.77.0.2:80"), -ECONNREFUSED) << counts_text();
  EXPECT_EQ(count(HEDDLE_V_IN_DROP_NO_LISTENER), 1u) << counts_text();
  EXPECT_FALSE(readable(app, std::chrono::milliseconds(0)));
}

TEST_F(Inbound, PassesToTheAppWhenTheListenerIsGoneAndThePodMayFailOpen) {
  pod_.fail_open = true;
  enrol();
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  expect_steered(AF_INET, "10.77.0.2:80");
  inbound_.reset();
  outbound_.reset();
  expect_app(*neighbour_, app, "10.77.0.2:80");
  EXPECT_EQ(count(HEDDLE_V_IN_FAIL_OPEN), 1u) << counts_text();
}

TEST_F(Inbound, DropsWhatIsDialledAtAnAddressNobodyToldIt) {
  enrol();
  must_run_in(pod_netns_.get(), "ip addr add 10.77.0.33/24 dev eth0");
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  EXPECT_EQ(connect_to(neighbour_->make(AF_INET), "10.77.0.33:80"), -ECONNREFUSED) << counts_text();
  EXPECT_EQ(count(HEDDLE_V_IN_DROP_UNKNOWN_ADDRESS, 0), 1u) << counts_text();
  // From the same address it works: that is the pod itself.
  const Fd own = mesh_->make(AF_INET);
  ASSERT_EQ(bind_to(own, "10.77.0.33:0"), 0);
  EXPECT_EQ(connect_to(own, "10.77.0.33:80"), 0) << counts_text();
  EXPECT_TRUE(accept_from(app)) << counts_text();
}

TEST_F(Inbound, SpreadsOverNothingButTheListenerInTheMapAndKeepsQueuedConnections) {
  enrol();
  std::vector<Fd> clients;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(neighbour_->make(AF_INET));
    ASSERT_EQ(connect_to(clients.back(), "10.77.0.2:80"), 0);
  }
  // A second holder of the listener serves what the first left in the queue.
  const Fd escrow = inbound_.duplicate().value();
  inbound_.reset();
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(accept_from(escrow)) << i;
}

TEST_F(Inbound, SteersAnMptcpClient) {
  enrol();
  const Fd client = neighbour_->make(AF_INET, SOCK_STREAM, 262);
  if (!client) GTEST_SKIP() << "this kernel has no MPTCP";
  ASSERT_EQ(connect_to(client, "10.77.0.2:80"), 0) << counts_text();
  EXPECT_TRUE(accept_from(inbound_)) << counts_text();
}

TEST_F(Inbound, LeavesUdpAlone) {
  enrol();
  const Fd server = app_->make(AF_INET, SOCK_DGRAM);
  ASSERT_EQ(bind_to(server, "10.77.0.2:5353"), 0);
  const Fd client = neighbour_->make(AF_INET, SOCK_DGRAM);
  ASSERT_EQ(connect_to(client, "10.77.0.2:5353"), 0);
  ASSERT_TRUE(send_all(client, "query"));
  EXPECT_EQ(read_exactly(server, 5), "query");
}

}  // namespace
}  // namespace heddle::agent
