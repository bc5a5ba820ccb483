// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/brokered_dialer.h"

#include <gtest/gtest.h>

#include "tests/unit/proxy_core/rig.h"

namespace heddle::proxy {
namespace {

struct Asked {
  bool ipv6;
  std::uint32_t count;
  bool operator==(const Asked&) const = default;
};

// A dialer whose agent answers when the test says so.
class BrokeredDialerTest : public ::testing::Test {
 protected:
  BrokeredDialerTest()
      : dialer_(loop_,
                [this](std::uint32_t, bool ipv6, std::uint32_t count) { asked_.push_back({ipv6, count}); }) {}
  PodRef pod(std::initializer_list<const char*> ips) {
    auto made = std::make_shared<Pod>();
    made->id = 1;
    made->netns_cookie = 1001;
    made->keep_client_source = false;
    for (const char* ip : ips) made->ips.push_back(IpAddress::parse(ip).value());
    dialer_.pod_upserted(made);
    return made;
  }
  void give_all() {
    for (const Asked& each : std::exchange(asked_, {})) {
      std::vector<Fd> sockets;
      for (std::uint32_t i = 0; i < each.count; ++i)
        sockets.emplace_back(
            ::socket(each.ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      dialer_.add_sockets(1, each.ipv6, std::move(sockets), {});
    }
  }
  std::uint32_t asked() const {
    std::uint32_t sum = 0;
    for (const Asked& each : asked_) sum += each.count;
    return sum;
  }
  void dial(const PodRef& from) {
    DialRequest request;
    request.pod = from;
    request.to = server_.address;
    dials_.push_back(dialer_.dial(std::move(request), [](Result<std::unique_ptr<Stream>>) {}));
  }

  Loop loop_;
  std::vector<Asked> asked_;
  test::Server server_;
  BrokeredDialer dialer_;
  std::vector<std::unique_ptr<Dialer::Pending>> dials_;
};

TEST_F(BrokeredDialerTest, KeepsOneSocketOfEachFamilyThatAnIdlePodHas) {
  pod({"10.0.0.1", "fd00::1"});
  EXPECT_EQ(asked_, (std::vector<Asked>{{false, 1}, {true, 1}}));
  give_all();
  EXPECT_EQ(dialer_.reserved(1, false), 1u);
  EXPECT_EQ(dialer_.reserved(1, true), 1u);
  EXPECT_TRUE(asked_.empty()) << "that is enough";
}

TEST_F(BrokeredDialerTest, AsksForNoFamilyThatThePodLacks) {
  pod({"10.0.0.1"});
  EXPECT_EQ(asked_, (std::vector<Asked>{{false, 1}}));
}

TEST_F(BrokeredDialerTest, TheFirstConnectionOfAnIdlePodDoesNotWait) {
  const PodRef from = pod({"10.0.0.1"});
  give_all();
  dial(from);
  EXPECT_EQ(dialer_.waiting(), 0u);
  EXPECT_EQ(asked(), 4u) << "a pod in use has more";
}

TEST_F(BrokeredDialerTest, ABurstOnAnIdlePodWaitsForOneAnswerOnly) {
  const PodRef from = pod({"10.0.0.1"});
  give_all();
  for (int i = 0; i < 40; ++i) dial(from);
  EXPECT_EQ(dialer_.waiting(), 39u);
  give_all();
  EXPECT_EQ(dialer_.waiting(), 0u) << "all of it was asked for before the first answer";
  give_all();
  for (int i = 0; i < 32; ++i) dial(from);
  EXPECT_EQ(dialer_.waiting(), 0u) << "the next burst finds a reserve";
}

}  // namespace
}  // namespace heddle::proxy
