// SPDX-License-Identifier: Apache-2.0
#include "agent/broker/broker.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/io/connection.h"
#include "tests/support/netns_lab.h"

namespace heddle::agent {
namespace {

int option(const Fd& socket, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(socket.get(), level, name, &value, &size), 0);
  return value;
}

TEST(Broker, LeavesNothingToSetOnAMarkedSocket) {
  const Fd pod = test::make_netns();
  for (const bool ipv6 : {false, true}) {
    const auto made =
        make_mesh_sockets(pod.get(), ipv6, 2, [](int socket) { return prepare_marked(socket, 0x5e); });
    ASSERT_TRUE(made) << made.error().message();
    ASSERT_EQ(made->size(), 2u);
    for (const Fd& socket : *made) {
      EXPECT_EQ(option(socket, SOL_SOCKET, SO_MARK), 0x5e);
      EXPECT_EQ(option(socket, SOL_SOCKET, SO_KEEPALIVE), 1);
      EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_KEEPIDLE), keepalive_seconds);
      EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_KEEPINTVL), keepalive_seconds);
      EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_KEEPCNT), keepalive_probes);
      EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT), 0) << "a reader that pauses would be given up";
      EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_NODELAY), 1);
      EXPECT_EQ(option(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT), unsent_bytes_at_first);
      EXPECT_NE(::fcntl(socket.get(), F_GETFL) & O_NONBLOCK, 0);
    }
  }
}

}  // namespace
}  // namespace heddle::agent
