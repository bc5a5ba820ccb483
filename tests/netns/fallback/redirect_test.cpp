// SPDX-License-Identifier: Apache-2.0
#include "agent/fallback/redirect.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <memory>

#include "base/io/cgroup.h"
#include "base/io/netns.h"
#include "tests/support/netns_lab.h"

namespace heddle::agent {
namespace {

using namespace heddle::test;

constexpr std::uint32_t secret_mark = 0x51ec3e7;

struct Way {
  RedirectBackend backend;
  bool by_cgroup;
};

std::string name_of(const ::testing::TestParamInfo<Way>& info) {
  std::string out = to_string(info.param.backend);
  for (auto& c : out) {
    if (c == '-') c = '_';
  }
  return out + (info.param.by_cgroup ? "_by_cgroup" : "_by_mark");
}

// A pod 10.78.0.2, fd78::2 and a neighbour 10.78.0.1, 10.78.0.9, fd78::1 on a cable, as in the tests of the
// hooks.
class RedirectTest : public ::testing::TestWithParam<Way> {
 protected:
  RedirectTest() {
    mesh_cgroup_ = cgroup_.child("mesh");
    pod_netns_ = make_netns();
    neighbour_netns_ = make_netns();
    join_with_veth({pod_netns_.get(), "eth0", {"10.78.0.2/24", "fd78::2/64"}},
                   {neighbour_netns_.get(), "eth0", {"10.78.0.1/24", "10.78.0.9/24", "fd78::1/64"}});
    must_run_in(pod_netns_.get(), "ip route add default via 10.78.0.1; ip -6 route add default via fd78::1");
    app_ = std::make_unique<SocketMaker>(cgroup_.child("pods"), pod_netns_.get());
    mesh_ = std::make_unique<SocketMaker>(mesh_cgroup_, pod_netns_.get());
    neighbour_ = std::make_unique<SocketMaker>(cgroup_.path(), neighbour_netns_.get());
    in_netns(pod_netns_.get(), [this] { pod_.addresses = local_addresses().value(); });
    pod_.outbound_port = 4140;
    pod_.inbound_port = 4143;
  }

  void SetUp() override {
    Redirect::Options options;
    options.mark = secret_mark;
    options.node_addresses = {IpAddress::parse("10.78.0.9").value()};
    if (GetParam().by_cgroup) options.mesh_cgroup = mesh_cgroup_.substr(cgroup2_mount().value().size());
    auto probed = Redirect::probe(options, GetParam().backend);
    ASSERT_TRUE(probed) << probed.error().message();
    EXPECT_EQ(probed->by_cgroup(), GetParam().by_cgroup) << "the match on the cgroup did not load";
    redirect_ = std::make_unique<Redirect>(std::move(*probed));
    install();
    outbound_ = mesh_->make(AF_INET6);
    listen_on(outbound_, "[::]:4140");
    inbound_ = mesh_->make(AF_INET6);
    listen_on(inbound_, "[::]:4143");
  }

  void install() {
    const auto done = redirect_->install(pod_, pod_netns_.get());
    ASSERT_TRUE(done) << done.error().message();
  }

  // A socket as the agent brokers it.
  Fd brokered(int family) {
    Fd socket = mesh_->make(family);
    EXPECT_EQ(::setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &secret_mark, sizeof secret_mark), 0);
    return socket;
  }

  std::string ruleset() {
    return run_in(pod_netns_.get(),
                  "nft list ruleset; iptables-legacy-save -t nat; ip6tables-legacy-save -t nat")
        .output;
  }

  void expect_redirected(const SocketMaker& from, int family, const std::string& dst, const Fd& listener) {
    const Fd client = from.make(family);
    ASSERT_EQ(connect_to(client, dst), 0) << dst << "\n" << ruleset();
    const Fd accepted = accept_from(listener);
    ASSERT_TRUE(accepted) << dst << "\n" << ruleset();
    EXPECT_EQ(original_dst(accepted).to_string(), dst);
    EXPECT_EQ(peer_of(accepted).to_string(), local_of(client).to_string());
    ASSERT_TRUE(send_all(client, "ping"));
    EXPECT_EQ(read_exactly(accepted, 4), "ping");
    ASSERT_TRUE(send_all(accepted, "pong"));
    EXPECT_EQ(read_exactly(client, 4), "pong");
  }

  void expect_direct(const Fd& client, const std::string& dst, const Fd& server) {
    ASSERT_EQ(connect_to(client, dst), 0) << dst << "\n" << ruleset();
    EXPECT_TRUE(accept_from(server)) << dst << "\n" << ruleset();
  }

  TestCgroup cgroup_;
  std::string mesh_cgroup_;
  Fd pod_netns_, neighbour_netns_;
  std::unique_ptr<SocketMaker> app_, mesh_, neighbour_;
  InterceptedPod pod_;
  std::unique_ptr<Redirect> redirect_;
  Fd outbound_, inbound_;
};

TEST_P(RedirectTest, RedirectsWhatLeavesThePodAndKeepsItsDestination) {
  expect_redirected(*app_, AF_INET, "10.96.0.10:80", outbound_);
  expect_redirected(*app_, AF_INET6, "[fd99::10]:443", outbound_);
  expect_redirected(*app_, AF_INET6, "10.96.0.11:80", outbound_);
}

TEST_P(RedirectTest, RedirectsWhatArrivesWhateverTheAppListensOn) {
  const Fd app = app_->make(AF_INET6);
  listen_on(app, "[::]:80");
  expect_redirected(*neighbour_, AF_INET, "10.78.0.2:80", inbound_);
  expect_redirected(*neighbour_, AF_INET6, "[fd78::2]:80", inbound_);
  expect_redirected(*neighbour_, AF_INET, "10.78.0.2:4140", inbound_);
  expect_redirected(*neighbour_, AF_INET, "10.78.0.2:9999", inbound_);
}

TEST_P(RedirectTest, LeavesLoopbackAndThePodsOwnAddressesAlone) {
  const Fd app = app_->make(AF_INET6);
  listen_on(app, "[::]:80");
  for (const auto& [family, dst] : {std::pair{AF_INET, "127.0.0.1:80"},
                                    {AF_INET6, "[::1]:80"},
                                    {AF_INET, "10.78.0.2:80"},
                                    {AF_INET6, "[fd78::2]:80"}}) {
    expect_direct(app_->make(family), dst, app);
    expect_direct(brokered(family), dst, app);
  }
}

TEST_P(RedirectTest, LetsTheMeshsOwnSocketsOut) {
  const Fd server = neighbour_->make(AF_INET6);
  listen_on(server, "[::]:9005");
  expect_direct(brokered(AF_INET), "10.78.0.1:9005", server);
  expect_direct(brokered(AF_INET6), "[fd78::1]:9005", server);
}

TEST_P(RedirectTest, DoesNotTrustTheMarkAloneWhereTheCgroupTells) {
  const Fd forged = app_->make(AF_INET);
  ASSERT_EQ(::setsockopt(forged.get(), SOL_SOCKET, SO_MARK, &secret_mark, sizeof secret_mark), 0);
  if (!GetParam().by_cgroup) return;
  ASSERT_EQ(connect_to(forged, "10.96.0.10:80"), 0);
  EXPECT_TRUE(accept_from(outbound_)) << ruleset();
}

TEST_P(RedirectTest, SkipsPortsAndSubnetsInBothDirections) {
  pod_.skip_outbound_ports = {{9000, 9010}, {25, 25}};
  pod_.skip_inbound_ports = {{8080, 8081}};
  pod_.skip_cidrs = {Cidr::parse("10.78.0.1/32").value(), Cidr::parse("fd78::1").value()};
  install();
  const Fd server = neighbour_->make(AF_INET6);
  listen_on(server, "[::]:9005");
  const Fd other = neighbour_->make(AF_INET6);
  listen_on(other, "[::]:7000");
  expect_direct(app_->make(AF_INET), "10.78.0.9:9005", server);
  expect_direct(app_->make(AF_INET), "10.78.0.1:7000", other);
  expect_direct(app_->make(AF_INET6), "[fd78::1]:7000", other);
  expect_redirected(*app_, AF_INET, "10.78.0.9:7000", outbound_);
  const Fd app = app_->make(AF_INET6);
  listen_on(app, "[::]:80");
  expect_direct(neighbour_->make(AF_INET), "10.78.0.2:80", app);
  const Fd skipped = app_->make(AF_INET6);
  listen_on(skipped, "[::]:8081");
  pod_.skip_cidrs.clear();
  install();
  expect_direct(neighbour_->make(AF_INET), "10.78.0.2:8081", skipped);
  expect_redirected(*neighbour_, AF_INET, "10.78.0.2:80", inbound_);
}

TEST_P(RedirectTest, LetsTheNodesProbesPass) {
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  const Fd probe = neighbour_->make(AF_INET);
  ASSERT_EQ(bind_to(probe, "10.78.0.9:0"), 0);
  expect_direct(probe, "10.78.0.2:80", app);
}

TEST_P(RedirectTest, LeavesUdpAlone) {
  const Fd server = neighbour_->make(AF_INET, SOCK_DGRAM);
  ASSERT_EQ(bind_to(server, "10.78.0.1:5353"), 0);
  const Fd app = app_->make(AF_INET, SOCK_DGRAM);
  ASSERT_EQ(connect_to(app, "10.78.0.1:5353"), 0);
  ASSERT_TRUE(send_all(app, "query"));
  EXPECT_EQ(read_exactly(server, 5), "query");
}

TEST_P(RedirectTest, IsRefusedWithoutAListener) {
  outbound_.reset();
  inbound_.reset();
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  EXPECT_EQ(connect_to(app_->make(AF_INET), "10.78.0.1:9005"), -ECONNREFUSED);
  EXPECT_EQ(connect_to(neighbour_->make(AF_INET), "10.78.0.2:80"), -ECONNREFUSED);
}

TEST_P(RedirectTest, VerifiesExactlyItsOwnRules) {
  install();
  const auto first = redirect_->verify(pod_, pod_netns_.get());
  EXPECT_TRUE(first) << first.error().message() << "\n" << ruleset();
  auto changed = pod_;
  changed.skip_outbound_ports = {{26, 26}};
  EXPECT_FALSE(redirect_->verify(changed, pod_netns_.get()));
  ASSERT_TRUE(redirect_->remove(pod_netns_.get()));
  EXPECT_FALSE(redirect_->verify(pod_, pod_netns_.get()));
}

TEST_P(RedirectTest, TellsByANumberThatRulesWereChanged) {
  install();
  const auto before = redirect_->stamp(pod_netns_.get());
  if (GetParam().backend == RedirectBackend::iptables_legacy) {
    EXPECT_FALSE(before);
    return;
  }
  ASSERT_TRUE(before) << before.error().message();
  ASSERT_TRUE(redirect_->verify(pod_, pod_netns_.get()));
  EXPECT_EQ(*redirect_->stamp(pod_netns_.get()), *before) << "looking is no change";
  must_run_in(pod_netns_.get(), "nft flush ruleset");
  EXPECT_NE(*redirect_->stamp(pod_netns_.get()), *before);
  EXPECT_FALSE(redirect_->verify(pod_, pod_netns_.get()));
}

TEST_P(RedirectTest, ReplacesTheRulesOfAnotherBackend) {
  for (const auto backend :
       {RedirectBackend::nftables, RedirectBackend::iptables_nft, RedirectBackend::iptables_legacy}) {
    Redirect::Options options;
    options.mark = secret_mark + 1;  // an earlier agent's
    auto other = Redirect::probe(options, backend);
    ASSERT_TRUE(other) << other.error().message();
    ASSERT_TRUE(other->install(pod_, pod_netns_.get()));
  }
  install();
  EXPECT_EQ(ruleset().find("51ec3e8"), std::string::npos) << ruleset();
  const Fd server = neighbour_->make(AF_INET6);
  listen_on(server, "[::]:9005");
  expect_direct(brokered(AF_INET), "10.78.0.1:9005", server);
}

TEST_P(RedirectTest, LeavesNoHalfOfASetWhenAFamilyFails) {
  auto broken = pod_;
  broken.skip_cidrs = {Cidr{IpAddress::parse("fd00::").value(), 200}};  // no kernel takes that
  EXPECT_FALSE(redirect_->install(broken, pod_netns_.get()));
  expect_redirected(*app_, AF_INET, "10.96.0.10:80", outbound_);
  expect_redirected(*app_, AF_INET6, "[fd99::10]:443", outbound_);
  ASSERT_TRUE(redirect_->remove(pod_netns_.get()));
  EXPECT_FALSE(redirect_->install(broken, pod_netns_.get()));
  const std::string left = ruleset();
  EXPECT_EQ(left.find("4140"), std::string::npos) << left;
  EXPECT_EQ(left.find("HEDDLE"), std::string::npos) << left;
}

TEST_P(RedirectTest, LeavesNothingBehind) {
  install();
  ASSERT_TRUE(redirect_->remove(pod_netns_.get()));
  const auto again = redirect_->remove(pod_netns_.get());
  EXPECT_TRUE(again) << again.error().message();
  EXPECT_EQ(run_in(pod_netns_.get(), "nft list ruleset").output, "");
  const auto legacy =
      run_in(pod_netns_.get(), "cat /proc/net/ip_tables_names; iptables-legacy-save; ip6tables-legacy-save");
  EXPECT_EQ(legacy.output.find("HEDDLE"), std::string::npos) << legacy.output;
  EXPECT_EQ(legacy.output.find("\n-A"), std::string::npos) << legacy.output;
  const Fd server = neighbour_->make(AF_INET);
  listen_on(server, "10.78.0.1:9005");
  expect_direct(app_->make(AF_INET), "10.78.0.1:9005", server);
}

TEST_P(RedirectTest, LeavesForeignRulesAlone) {
  const std::string tool =
      GetParam().backend == RedirectBackend::iptables_legacy ? "iptables-legacy" : "iptables-nft";
  must_run_in(pod_netns_.get(),
              tool + " -t nat -A PREROUTING -p tcp --dport 7777 -j REDIRECT --to-ports 7778");
  install();
  ASSERT_TRUE(redirect_->remove(pod_netns_.get()));
  EXPECT_NE(run_in(pod_netns_.get(), tool + "-save -t nat").output.find("7778"), std::string::npos)
      << ruleset();
}

INSTANTIATE_TEST_SUITE_P(Backends, RedirectTest,
                         ::testing::Values(Way{RedirectBackend::nftables, true},
                                           Way{RedirectBackend::nftables, false},
                                           Way{RedirectBackend::iptables_nft, true},
                                           Way{RedirectBackend::iptables_nft, false},
                                           Way{RedirectBackend::iptables_legacy, true},
                                           Way{RedirectBackend::iptables_legacy, false}),
                         name_of);

TEST_P(RedirectTest, TakesLittleTimePerPod) {
  constexpr int pods = 20;
  std::vector<Fd> netns;
  for (int i = 0; i < pods; ++i) netns.push_back(make_netns());
  const auto each_ms = [&](const char* what, const std::function<Result<>(int)>& work) {
    const auto start = std::chrono::steady_clock::now();
    for (const auto& fd : netns) {
      const auto done = work(fd.get());
      EXPECT_TRUE(done) << what << " " << done.error().message();
    }
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    std::printf("%s %s: %.2f ms\n", to_string(GetParam().backend), what, took.count() / pods);
  };
  each_ms("install", [&](int fd) { return redirect_->install(pod_, fd); });
  each_ms("install again", [&](int fd) { return redirect_->install(pod_, fd); });
  each_ms("verify", [&](int fd) { return redirect_->verify(pod_, fd); });
  each_ms("remove", [&](int fd) { return redirect_->remove(fd); });
}

TEST(RedirectProbe, PrefersNftablesAndTheCgroup) {
  Redirect::Options options;
  options.mark = secret_mark;
  const TestCgroup cgroup;
  options.mesh_cgroup = cgroup.path().substr(cgroup2_mount().value().size());
  const auto probed = Redirect::probe(options);
  ASSERT_TRUE(probed) << probed.error().message();
  EXPECT_EQ(probed->backend(), RedirectBackend::nftables);
  EXPECT_TRUE(probed->by_cgroup());
}

TEST(RedirectProbe, SaysWhyNothingWorks) {
  const auto probed = Redirect::probe({});
  ASSERT_FALSE(probed);
  EXPECT_NE(probed.error().message().find("iptables-legacy"), std::string::npos) << probed.error().message();
}

TEST(RedirectProbe, FallsBackToTheMarkWhenTheCgroupIsGone) {
  Redirect::Options options;
  options.mark = secret_mark;
  options.mesh_cgroup = "/no/such/cgroup";
  const auto probed = Redirect::probe(options);
  ASSERT_TRUE(probed) << probed.error().message();
  EXPECT_FALSE(probed->by_cgroup());
}

}  // namespace
}  // namespace heddle::agent
