// SPDX-License-Identifier: Apache-2.0
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>

#include "agent/datapath/links.h"
#include "agent/datapath/pins.h"
#include "base/io/netns.h"
#include "tests/bpf/fixture.h"

namespace heddle::agent {
namespace {

using namespace heddle::test;

class Lifecycle : public DatapathTest {
 protected:
  std::string versioned() const { return version_folder(options().pin_folder); }
  std::string netns_pin() const { return versioned() + "/netns/" + std::to_string(pod_.netns_cookie); }
};

TEST_F(Lifecycle, DoesNotRedirectBeforeThePodIsEnrolledNorAfterwards) {
  const Fd server = neighbour_->make(AF_INET);
  listen_on(server, "10.77.0.1:9005");
  const auto reaches_the_server = [&] {
    const Fd app = app_->make(AF_INET);
    return connect_to(app, "10.77.0.1:9005") == 0 && accept_from(server);
  };
  enrol();
  ASSERT_TRUE(datapath_->set_enrolled(pod_, false));
  EXPECT_TRUE(reaches_the_server()) << counts_text();
  ASSERT_TRUE(datapath_->set_enrolled(pod_, true));
  capture(app_->make(AF_INET), "10.77.0.1:9005");
  ASSERT_TRUE(datapath_->remove(pod_));
  EXPECT_TRUE(reaches_the_server()) << counts_text();
}

TEST_F(Lifecycle, VerifiesAnEnrolledPodAndNamesWhatIsMissing) {
  enrol();
  const auto verdict = [&] {
    const auto result = datapath_->verify(pod_, pod_netns_.get());
    return result ? std::string("fine") : result.error().message();
  };
  EXPECT_EQ(verdict(), "fine");
  ASSERT_TRUE(datapath_->set_enrolled(pod_, false));
  EXPECT_NE(verdict().find("enrolled"), std::string::npos) << verdict();
  ASSERT_TRUE(datapath_->set_enrolled(pod_, true));
  pod_.addresses.push_back(IpAddress::parse("10.77.0.200").value());
  EXPECT_NE(verdict().find("10.77.0.200"), std::string::npos) << verdict();
  pod_.addresses.pop_back();
  ::unlink(netns_pin().c_str());
  EXPECT_NE(verdict().find("link"), std::string::npos) << verdict();
  enrol_again();
  EXPECT_EQ(verdict(), "fine");
  inbound_.reset();
  EXPECT_NE(verdict().find("listener"), std::string::npos) << verdict();
  ASSERT_TRUE(datapath_->remove(pod_));
  EXPECT_NE(verdict().find("no map entry"), std::string::npos) << verdict();
}

TEST_F(Lifecycle, LeavesNothingOfARemovedPod) {
  enrol();
  capture(app_->make(AF_INET), "10.96.0.10:80");
  ASSERT_TRUE(datapath_->remove(pod_));
  ASSERT_TRUE(datapath_->remove(pod_)) << "twice is once";
  EXPECT_NE(::access(netns_pin().c_str(), F_OK), 0);
  for (const char* map : {"pods", "addresses", "listeners", "connects"}) {
    EXPECT_EQ(map_entries(map), 0) << map;
  }
  EXPECT_EQ(map_entries("verdicts"), 1) << "only those of pod id 0";
  EXPECT_TRUE(datapath_->pods().empty());
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  EXPECT_EQ(connect_to(neighbour_->make(AF_INET), "10.77.0.2:80"), 0) << "sk_lookup is gone from the netns";
  EXPECT_TRUE(accept_from(app));
}

TEST_F(Lifecycle, RemovesAPodWhoseNetnsIsGone) {
  enrol();
  app_.reset();
  mesh_.reset();
  outbound_.reset();
  inbound_.reset();
  pod_netns_.reset();
  EXPECT_TRUE(eventually([&] {
    const auto inode = pinned_netns(netns_pin());
    return inode && *inode == 0;
  })) << "the netns should end with its last user";
  ASSERT_TRUE(datapath_->remove(pod_));
  EXPECT_TRUE(datapath_->pods().empty());
  EXPECT_NE(::access(netns_pin().c_str(), F_OK), 0);
}

TEST_F(Lifecycle, KeepsAnAddressThatAnotherPodHasTakenOver) {
  enrol();
  InterceptedPod next = pod_;
  Fd netns = make_netns();
  next.id = 8;
  next.netns_cookie = netns_cookie(netns.get()).value();
  const SocketMaker maker(mesh_cgroup_, netns.get());
  const Fd listener = maker.make(AF_INET6);
  listen_on(listener, "[::]:4143");
  ASSERT_TRUE(datapath_->prepare(next, netns.get(), listener.get()));
  ASSERT_TRUE(datapath_->remove(pod_));
  ASSERT_TRUE(datapath_->set_enrolled(next, true));
  EXPECT_TRUE(datapath_->verify(next, netns.get()));
}

TEST_F(Lifecycle, RefusesAListenerOfAnotherNetnsAndLeavesNothingBehind) {
  enrol();
  ASSERT_TRUE(datapath_->remove(pod_));
  const Fd stranger = neighbour_->make(AF_INET6);
  listen_on(stranger, "[::]:4143");
  const auto prepared = datapath_->prepare(pod_, pod_netns_.get(), stranger.get());
  ASSERT_FALSE(prepared);
  EXPECT_NE(prepared.error().message().find("network namespace"), std::string::npos);
  EXPECT_TRUE(datapath_->pods().empty());
}

TEST_F(Lifecycle, UndoesAPrepareThatFailsHalfway) {
  enrol();
  ASSERT_TRUE(datapath_->remove(pod_));
  EXPECT_FALSE(datapath_->prepare(pod_, outbound_.get() /* no netns */, inbound_.get()));
  EXPECT_TRUE(datapath_->pods().empty());
  EXPECT_EQ(map_entries("addresses"), 0);
  EXPECT_EQ(map_entries("listeners"), 0);
}

TEST_F(Lifecycle, FollowsAChangeOfAddressesAndOfTheId) {
  enrol();
  must_run_in(pod_netns_.get(),
              "ip addr add 10.77.0.44/24 dev eth0; ip addr del 10.77.0.2/24 dev eth0; "
              "ip addr add 10.77.0.44/24 dev eth0 2>/dev/null; ip route replace default via 10.77.0.1");
  std::erase(pod_.addresses, IpAddress::parse("10.77.0.2").value());
  pod_.addresses.push_back(IpAddress::parse("10.77.0.44").value());
  pod_.id = 11;
  enrol_again();
  EXPECT_TRUE(datapath_->verify(pod_, pod_netns_.get()));
  EXPECT_EQ(map_entries("listeners"), 1);
  capture(app_->make(AF_INET), "10.96.0.10:80");
  EXPECT_EQ(connect_to(neighbour_->make(AF_INET), "10.77.0.44:80"), 0) << counts_text();
  EXPECT_TRUE(accept_from(inbound_)) << counts_text();
}

TEST_F(Lifecycle, MakesAThousandPodsInSeconds) {
  ASSERT_GT(raise_fd_limit().value(), 2200u) << "the test holds two descriptors per pod";
  auto opened = Datapath::open(options());
  ASSERT_TRUE(opened) << opened.error().message();
  datapath_ = std::move(*opened);
  constexpr int pods = 1000;
  std::vector<Fd> netns, listeners;
  std::vector<InterceptedPod> all;
  for (int i = 0; i < pods; ++i) {
    netns.push_back(make_netns());
    auto one = pod_;
    one.id = static_cast<std::uint32_t>(i + 1);
    one.addresses = {IpAddress::v4(0x0a800000u + static_cast<std::uint32_t>(i) + 1)};
    in_netns(netns.back().get(), [&] {
      listeners.emplace_back(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
      listen_on(listeners.back(), "[::]:4143");
    });
    one.netns_cookie = socket_netns_cookie(listeners.back().get()).value();
    all.push_back(one);
  }
  using clock = std::chrono::steady_clock;
  const auto us_each = [](clock::duration took) {
    return static_cast<double>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()) / pods;
  };
  auto start = clock::now();
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto prepared = datapath_->prepare(all[i], netns[i].get(), listeners[i].get());
    ASSERT_TRUE(prepared) << i << " " << prepared.error().message();
    ASSERT_TRUE(datapath_->set_enrolled(all[i], true));
  }
  std::printf("prepare and enrol: %.1f us per pod\n", us_each(clock::now() - start));
  start = clock::now();
  datapath_.reset();
  opened = Datapath::open(options());
  ASSERT_TRUE(opened) << opened.error().message();
  datapath_ = std::move(*opened);
  std::printf("taking over %d pods: %.1f ms\n", pods, us_each(clock::now() - start));
  EXPECT_EQ(datapath_->pods().size(), static_cast<std::size_t>(pods));
  start = clock::now();
  for (const auto& one : all) ASSERT_TRUE(datapath_->remove(one));
  std::printf("remove: %.1f us per pod\n", us_each(clock::now() - start));
  EXPECT_TRUE(datapath_->pods().empty());
}

}  // namespace
}  // namespace heddle::agent
