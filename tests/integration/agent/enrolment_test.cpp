// SPDX-License-Identifier: Apache-2.0
#include <signal.h>

#include "base/io/netns.h"
#include "tests/integration/agent/fixture.h"

namespace heddle::agent {
namespace {

TEST_F(AgentTest, EnrolsAPodEndToEnd) {
  start();
  FakeProxy proxy(proxy_socket());
  ASSERT_TRUE(proxy.serves());
  const TestPod pod = make_wired_pod();
  const auto reply = add(pod);
  ASSERT_EQ(reply.code(), 0u) << reply.msg() << " " << reply.details();
  EXPECT_TRUE(reply.meshed());
  ASSERT_TRUE(proxy.has_pod(pod.id));
  const auto told = *proxy.pod(pod.id);
  EXPECT_EQ(told.netns_cookie(), *netns_cookie(pod.netns.get()));
  EXPECT_EQ(told.identity(), "default.default.serviceaccount.identity.heddle.cluster.local");
  EXPECT_EQ(told.outbound_port(), 4140u);
  EXPECT_EQ(told.interception(), node::EBPF);
  EXPECT_EQ(check(pod).code(), 0u) << check(pod).msg();

  // The pod's connect reaches the listener that the proxy was handed, with the destination it dialled.
  const test::SocketMaker app(cgroup_.child("pod"), pod.netns.get());
  Fd client = app.make(AF_INET);
  ASSERT_EQ(test::connect_to(client, "192.0.2.1:80"), 0);
  Fd listener(::dup(proxy.listener(pod.id, false)));
  Fd accepted = test::accept_from(listener);
  ASSERT_TRUE(accepted);
  EXPECT_EQ(test::original_dst(accepted).to_string(), "192.0.2.1:80");

  // A brokered socket is not redirected.
  Fd mesh = proxy.take_socket(told.id(), false);
  ASSERT_TRUE(mesh);
  const test::SocketMaker server(cgroup_.child("other"), neighbour_.get());
  Fd destination = server.make(AF_INET);
  const std::string there = pod.ip.substr(0, pod.ip.rfind('.')) + ".1:8080";
  test::listen_on(destination, there);
  ASSERT_EQ(test::connect_to(mesh, there), 0);
  SocketAddress peer;
  EXPECT_TRUE(test::accept_from(destination, &peer));
  EXPECT_EQ(peer.ip.to_string(), pod.ip);

  EXPECT_EQ(del(pod, false).code(), 0u);
  EXPECT_TRUE(proxy.lost_pod(pod.id));
  EXPECT_EQ(del(pod, false).code(), 0u) << "DEL is idempotent";
  EXPECT_EQ(check(pod).code(), 3u);
}

}  // namespace
}  // namespace heddle::agent
