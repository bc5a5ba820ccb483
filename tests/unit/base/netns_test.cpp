// SPDX-License-Identifier: Apache-2.0
#include "base/io/netns.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>

#include <thread>

namespace heddle {
namespace {

// A fresh namespace that lives as long as the descriptor.
Fd new_netns() {
  Fd out;
  std::thread([&out] {
    if (::unshare(CLONE_NEWNET) == 0) {
      if (auto fd = open_netns("/proc/thread-self/ns/net")) out = std::move(*fd);
    }
  }).join();
  return out;
}

TEST(Netns, OpensOnlyNetworkNamespaces) {
  EXPECT_TRUE(open_netns("/proc/self/ns/net"));
  EXPECT_FALSE(open_netns("/proc/self/ns/mnt"));
  EXPECT_FALSE(open_netns("/etc/passwd"));
  EXPECT_FALSE(open_netns("/nonexistent"));
}

TEST(Netns, HaveCookiesOfTheirOwn) {
  const Fd other = new_netns();
  ASSERT_TRUE(other) << "needs CAP_SYS_ADMIN";
  const Fd here = *open_netns("/proc/self/ns/net");
  auto a = netns_cookie(here.get());
  auto b = netns_cookie(other.get());
  ASSERT_TRUE(a && b);
  EXPECT_NE(*a, *b);
  EXPECT_EQ(*a, *netns_cookie(here.get())) << "the thread did not come home, or cookies change";
}

TEST(Netns, AreLeftAgain) {
  const Fd other = new_netns();
  ASSERT_TRUE(other) << "needs CAP_SYS_ADMIN";
  const Fd here = *open_netns("/proc/self/ns/net");
  const auto cookie = *netns_cookie(here.get());
  {
    auto scope = ScopedNetns::enter(other.get());
    ASSERT_TRUE(scope) << scope.error().message();
    EXPECT_TRUE(local_addresses()->empty()) << "a new namespace has no address";
    ASSERT_TRUE(bring_loopback_up());
    ASSERT_TRUE(bring_loopback_up()) << "being up already is no error";
  }
  const Fd socket(::socket(AF_INET, SOCK_DGRAM, 0));
  EXPECT_EQ(*socket_netns_cookie(socket.get()), cookie);
}

}  // namespace
}  // namespace heddle
