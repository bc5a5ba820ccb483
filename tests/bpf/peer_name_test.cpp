// SPDX-License-Identifier: Apache-2.0
#include <cerrno>

#include "agent/datapath/pod_entry.h"
#include "tests/bpf/fixture.h"

namespace heddle::agent {
namespace {

using namespace heddle::test;

// The server's side: the proxy names the client, the app sees it.
class PeerName : public DatapathTest {
 protected:
  Fd brokered(int family) {
    Fd socket = mesh_->make(family);
    EXPECT_TRUE(datapath_->tag_socket(socket.get(), pod_.id));
    return socket;
  }
  static int name_client(const Fd& socket, const std::string& client) {
    const auto address = to_abi(SocketAddress::parse(client).value());
    return ::setsockopt(socket.get(), HEDDLE_SOL, HEDDLE_SO_CLIENT_ADDRESS, &address, sizeof address) == 0
               ? 0
               : -errno;
  }
  // Connects a brokered socket to the app at `dst` for `client`; what accept(2) and getpeername(2) say there.
  void expect_peer(int family, const Fd& app, const std::string& dst, const std::string& client,
                   const std::string& seen) {
    const Fd socket = brokered(family);
    ASSERT_EQ(name_client(socket, client), 0);
    ASSERT_EQ(connect_to(socket, dst), 0) << counts_text();
    SocketAddress accepted_from;
    const Fd accepted = accept_from(app, &accepted_from);
    ASSERT_TRUE(accepted) << counts_text();
    EXPECT_EQ(accepted_from.to_string(), seen);
    EXPECT_EQ(peer_of(accepted).to_string(), seen);
    EXPECT_EQ(peer_of(socket).to_string(), dst) << "the proxy itself sees the app";
    ASSERT_TRUE(send_all(socket, "ping"));
    EXPECT_EQ(read_exactly(accepted, 4), "ping");
  }
};

TEST_F(PeerName, IsTheClientsInAcceptAndGetpeername) {
  enrol();
  const Fd four = app_->make(AF_INET);
  listen_on(four, "0.0.0.0:80");
  expect_peer(AF_INET, four, "10.77.0.2:80", "10.50.0.3:40000", "10.50.0.3:40000");
  const Fd six = app_->make(AF_INET6);
  listen_on(six, "[::]:81");
  expect_peer(AF_INET6, six, "[fd77::2]:81", "[fd50::3]:40001", "[fd50::3]:40001");
  expect_peer(AF_INET, six, "10.77.0.2:81", "10.50.0.3:40002", "10.50.0.3:40002");
}

TEST_F(PeerName, StaysTheKernelsWhenTheAppsSocketCannotExpressTheClient) {
  enrol();
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  const Fd socket = brokered(AF_INET);
  ASSERT_EQ(name_client(socket, "[fd50::3]:40001"), 0);
  ASSERT_EQ(connect_to(socket, "10.77.0.2:80"), 0);
  EXPECT_EQ(peer_of(accept_from(app)).to_string(), local_of(socket).to_string());
}

TEST_F(PeerName, IsThePodsOwnWithoutTheSetting) {
  pod_.client_source = false;
  enrol();
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  const Fd socket = brokered(AF_INET);
  ASSERT_EQ(name_client(socket, "10.50.0.3:40000"), 0);
  ASSERT_EQ(connect_to(socket, "10.77.0.2:80"), 0);
  EXPECT_EQ(peer_of(accept_from(app)).to_string(), local_of(socket).to_string());
}

TEST_F(PeerName, CannotBeChosenByAPod) {
  enrol();
  const Fd own = app_->make(AF_INET);
  EXPECT_EQ(name_client(own, "10.50.0.3:40000"), -ENOPROTOOPT);
  const Fd untagged = mesh_->make(AF_INET);
  EXPECT_EQ(name_client(untagged, "10.50.0.3:40000"), -ENOPROTOOPT);
}

TEST_F(PeerName, IsRefusedWhenTheOptionIsTooShort) {
  enrol();
  const Fd socket = brokered(AF_INET);
  const char little[4] = {};
  EXPECT_EQ(::setsockopt(socket.get(), HEDDLE_SOL, HEDDLE_SO_CLIENT_ADDRESS, little, sizeof little), -1);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(PeerName, BelongsToOneConnectionOnly) {
  enrol();
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  expect_peer(AF_INET, app, "10.77.0.2:80", "10.50.0.3:40000", "10.50.0.3:40000");
  const Fd plain = brokered(AF_INET);
  ASSERT_EQ(connect_to(plain, "10.77.0.2:80"), 0);
  EXPECT_EQ(peer_of(accept_from(app)).to_string(), local_of(plain).to_string());
}

TEST_F(PeerName, StaysWhenTheProxyHasGone) {
  enrol();
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  Fd socket = brokered(AF_INET);
  ASSERT_EQ(name_client(socket, "10.50.0.3:40000"), 0);
  ASSERT_EQ(connect_to(socket, "10.77.0.2:80"), 0);
  const Fd accepted = accept_from(app);
  ASSERT_EQ(peer_of(accepted).to_string(), "10.50.0.3:40000");
  socket.reset();
  EXPECT_EQ(peer_of(accepted).to_string(), "10.50.0.3:40000");
}

TEST_F(PeerName, IsOfThisConnectionWhenTheProxyUsesItsSocketAgain) {
  enrol();
  const Fd app = app_->make(AF_INET);
  listen_on(app, "0.0.0.0:80");
  const Fd socket = brokered(AF_INET);
  for (const char* client : {"10.50.0.3:40000", "10.50.0.4:40001", ""}) {
    heddle_address nobody{};
    if (*client == 0) {
      ASSERT_EQ(::setsockopt(socket.get(), HEDDLE_SOL, HEDDLE_SO_CLIENT_ADDRESS, &nobody, sizeof nobody), 0);
    } else {
      ASSERT_EQ(name_client(socket, client), 0);
    }
    ASSERT_EQ(connect_to(socket, "10.77.0.2:80"), 0);
    EXPECT_EQ(peer_of(accept_from(app)).to_string(), *client == 0 ? local_of(socket).to_string() : client);
    const sockaddr again{AF_UNSPEC, {}};
    ASSERT_EQ(::connect(socket.get(), &again, sizeof again), 0);
  }
}

TEST_F(PeerName, IsNotInheritedFromAConnectThatFoundNobody) {
  enrol();
  for (const bool by_mesh : {false, true}) {
    SCOPED_TRACE(by_mesh ? "the proxy, for nobody" : "a process of the pod");
    for (const auto& [family, ip] : {std::pair{AF_INET, "10.77.0.2"}, {AF_INET6, "[fd77::2]"}}) {
      const std::string from = std::string(ip) + ":45000", to = std::string(ip) + ":80";
      {
        const Fd mesh = brokered(family);
        ASSERT_EQ(name_client(mesh, family == AF_INET ? "10.50.0.3:40000" : "[fd50::3]:40000"), 0);
        ASSERT_EQ(bind_to(mesh, from), 0);
        ASSERT_EQ(connect_to(mesh, to), -ECONNREFUSED);
      }
      const Fd app = app_->make(family);
      listen_on(app, to);
      const Fd next = by_mesh ? brokered(family) : app_->make(family);
      ASSERT_EQ(bind_to(next, from), 0);
      ASSERT_EQ(connect_to(next, to), 0);
      EXPECT_EQ(peer_of(accept_from(app)).to_string(), from);
      // A reset leaves the port free for the next round.
      const linger now{1, 0};
      ::setsockopt(next.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
  }
}

}  // namespace
}  // namespace heddle::agent
