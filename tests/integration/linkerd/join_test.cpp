// SPDX-License-Identifier: Apache-2.0
// Two pods of one proxy: joined without TLS, and counted on both sides.
#include <gmock/gmock.h>

#include "tests/integration/linkerd/mesh_lab.h"

namespace heddle::proxy::test {
namespace {

const SocketAddress vip = SocketAddress::parse("10.96.0.1:80").value();

class Joined : public ::testing::Test {
 protected:
  PeerListener app_{"127.0.0.5"};
  MeshLab lab_;
  PodRef client_pod_ = lab_.add_pod(1, "127.0.0.9");
  PodRef pod_ = lab_.add_pod(2, "127.0.0.5");
  SocketAddress entrance_ = lab_.listen_outbound(client_pod_, vip);

  void discover(const std::string& identity, bool opaque) {
    lab_.discover(vip, {{app_.address(), identity, identity, ProtocolHint::h2, 0, {}}}, opaque);
  }
  double inbound(const std::string& family, const char* peer) {
    return lab_.metric(family,
                       {"direction=\"inbound\"", "pod=\"pod-2\"", std::string("peer=\"") + peer + '"'});
  }
};

TEST_F(Joined, BytesAreCountedOnTheAppsSideToo) {
  discover(pod_->identity, true);
  for (int i = 1; i <= 2; ++i) {
    Peer client = Peer::dial(entrance_);
    ASSERT_TRUE(client.write("\x01question"));
    auto app = app_.accept();
    ASSERT_TRUE(app);
    // No TLS in between.
    EXPECT_EQ(app->read(9), "\x01question");
    ASSERT_TRUE(app->write("answer!"));
    EXPECT_EQ(client.read(7), "answer!");
    for (const char* side : {"src", "dst"}) {
      EXPECT_EQ(inbound("tcp_open_total", side), i) << side;
      EXPECT_EQ(inbound("tcp_open_connections", side), 1) << side;
    }
    client.finish();
    app->finish();
    EXPECT_TRUE(lab_.eventually([&] { return inbound("tcp_close_total", "src") == i; }));
    EXPECT_EQ(inbound("tcp_read_bytes_total", "src"), 9 * i);
    EXPECT_EQ(inbound("tcp_write_bytes_total", "src"), 7 * i);
    EXPECT_EQ(inbound("tcp_read_bytes_total", "dst"), 7 * i);
    EXPECT_EQ(inbound("tcp_write_bytes_total", "dst"), 9 * i);
    EXPECT_EQ(inbound("tcp_open_connections", "src"), 0);
  }
  EXPECT_EQ(lab_.metric("tcp_open_total", {"inbound", "peer=\"src\"", "tls=\"local\"",
                                           "client_id=\"" + client_pod_->identity + "\""}),
            2);
  EXPECT_EQ(lab_.metric("inbound_tcp_authz_allow_total", {"pod-2", client_pod_->identity}), 2);
  const std::string line = lab_.logged({"\"inbound\"", "\"pod-2\"", "\"tls\":\"local\""});
  EXPECT_THAT(line, testing::HasSubstr("\"bytes_in\":9,\"bytes_out\":7")) << line;
  EXPECT_THAT(line, testing::HasSubstr(client_pod_->identity)) << line;
}

TEST_F(Joined, HttpIsSentToTheAppAsItWas) {
  discover(pod_->identity, false);
  Peer client = Peer::dial(entrance_);
  ASSERT_TRUE(client.write("GET /x HTTP/1.1\r\nhost: web\r\nl5d-client-id: admin\r\n\r\n"));
  auto app = app_.accept();
  ASSERT_TRUE(app);
  const std::string head = app->read_until("\r\n\r\n");
  EXPECT_TRUE(head.starts_with("GET /x HTTP/1.1\r\n")) << head;
  EXPECT_THAT(head, testing::HasSubstr("l5d-client-id: " + client_pod_->identity));
  EXPECT_THAT(head, testing::Not(testing::HasSubstr("admin")));
}

// An address is given to another pod sooner than discovery hears of it.
TEST_F(Joined, APodThatIsNotWhoseAddressItHasGetsNothing) {
  const std::string earlier = "earlier.shop.serviceaccount.identity.heddle.cluster.local";
  discover(earlier, true);
  Peer bytes = Peer::dial(entrance_);
  EXPECT_EQ(bytes.read_some(), "<reset>");
  discover(earlier, false);
  Peer http = Peer::dial(entrance_);
  ASSERT_TRUE(http.write("GET /secret HTTP/1.1\r\nhost: web\r\n\r\n"));
  EXPECT_TRUE(http.read_until("\r\n\r\n").starts_with("HTTP/1.1 502"));
  EXPECT_FALSE(app_.accept(std::chrono::milliseconds(100)));
}

TEST_F(Joined, ADeniedClientIsCountedAsDenied) {
  lab_.add_pod(2, "127.0.0.5", [](Pod& p) { p.policy = InboundPolicy::deny; });
  discover(pod_->identity, true);
  Peer client = Peer::dial(entrance_);
  EXPECT_EQ(client.read_some(), "<reset>");
  EXPECT_EQ(lab_.metric("inbound_tcp_authz_deny_total", {"pod-2", "default:deny"}), 1);
}

TEST_F(Joined, EndsWhenThePolicyTightens) {
  discover(pod_->identity, true);
  Peer client = Peer::dial(entrance_);
  ASSERT_TRUE(client.write("\x01"));
  auto app = app_.accept();
  ASSERT_TRUE(app);
  EXPECT_EQ(app->read(1), "\x01");
  pod_ = lab_.change_pod(pod_, [](Pod& p) { p.policy = InboundPolicy::all_authenticated; });
  ASSERT_TRUE(client.write("more"));
  EXPECT_EQ(app->read(4), "more") << "the client is known: nothing changes for it";
  lab_.change_pod(pod_, [](Pod& p) { p.policy = InboundPolicy::deny; });
  EXPECT_EQ(client.read_some(), "<reset>");
  EXPECT_EQ(app->read_some(), "<reset>");
}

}  // namespace
}  // namespace heddle::proxy::test
