// SPDX-License-Identifier: Apache-2.0
// Linkerd's proxy as the server that a pod of ours dials, on both of its wires.
#include <openssl/ssl.h>

#include "tests/integration/linkerd/broken_tls.h"
#include "tests/integration/linkerd/h2_peer.h"
#include "tests/integration/linkerd/header_bytes.h"
#include "tests/integration/linkerd/mesh_lab.h"

namespace heddle::proxy::test {
namespace {

using heddle::test::H2Peer;
using heddle::test::header_bytes;
using heddle::test::port_field;
using heddle::test::session_http1;
using heddle::test::session_http2;
using heddle::test::transport_alpn;

const std::string web = "web.linkerd-shop.serviceaccount.identity.linkerd.cluster.local";
const SocketAddress vip = SocketAddress::parse("10.96.0.1:80").value();

class LinkerdServer : public ::testing::Test {
 protected:
  // Its app's port, where the transparent wire arrives, and its own port.
  PeerListener app_port_{"127.0.0.20"};
  PeerListener own_port_{"127.0.0.20"};
  MeshLab lab_;
  PodRef pod_ = lab_.add_pod(1, "127.0.0.9");
  SocketAddress entrance_ = lab_.listen_outbound(pod_, vip);

  EndpointInfo endpoint(ProtocolHint hint, bool with_header) {
    return {
        app_port_.address(), web, web, hint, with_header ? own_port_.address().port : std::uint16_t{0}, {}};
  }
  void discover(ProtocolHint hint, bool with_header, bool opaque = false) {
    lab_.discover(vip, {endpoint(hint, with_header)}, opaque);
  }
  Peer client() { return Peer::dial(entrance_); }
  Peer asks(const std::string& head) {
    Peer peer = client();
    EXPECT_TRUE(peer.write(head));
    return peer;
  }
  // The peer's side: takes a connection and ends its TLS as linkerd2-proxy does.
  Peer secured(PeerListener& at, std::vector<std::string> alpn = {}) {
    auto peer = at.accept();
    EXPECT_TRUE(peer) << "nobody dials";
    if (!peer) return Peer(Fd());
    EXPECT_TRUE(peer->accept_tls(lab_.linkerd_server(web, std::move(alpn)))) << peer->failure();
    return std::move(*peer);
  }
  Peer with_header(const std::string& expected) {
    Peer peer = secured(own_port_, {transport_alpn});
    EXPECT_EQ(peer.alpn(), transport_alpn);
    EXPECT_EQ(peer.read(expected.size()), expected);
    return peer;
  }
  std::string app_port() const { return port_field(app_port_.address().port); }
};

const std::string get =
    "GET /x HTTP/1.1\r\nhost: web\r\nl5d-client-id: admin\r\nl5d-orig-proto: HTTP/3\r\n"
    "l5d-dst-override: evil\r\nheddle-client: 1.2.3.4:5\r\nconnection: x-hop\r\nx-hop: 1\r\nx-kept: "
    "1\r\n\r\n";
const std::string ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nl5d-client-id: admin\r\n\r\nhi";

void expect_clean(const std::string& head) {
  for (const char* gone : {"l5d-", "heddle-", "x-hop", "admin"})
    EXPECT_EQ(head.find(gone), std::string::npos) << gone << " in " << head;
  EXPECT_NE(head.find("x-kept: 1"), std::string::npos) << head;
}

TEST_F(LinkerdServer, IsGivenTheIdentityOfThePodAndItsOwnName) {
  discover(ProtocolHint::none, false);
  Peer app = asks(get);
  Peer peer = secured(app_port_);
  EXPECT_EQ(peer.tls_version(), TLS1_3_VERSION);
  EXPECT_EQ(peer.server_name(), web);
  EXPECT_EQ(peer.peer_names(), std::vector<std::string>{pod_->identity});
  EXPECT_EQ(peer.alpn(), "");
}

TEST_F(LinkerdServer, GetsHttp1TransparentlyWithoutAHint) {
  discover(ProtocolHint::none, false);
  Peer app = asks(get);
  Peer peer = secured(app_port_);
  const std::string head = peer.read_until("\r\n\r\n");
  EXPECT_TRUE(head.starts_with("GET /x HTTP/1.1\r\n")) << head;
  expect_clean(head);
  ASSERT_TRUE(peer.write(ok));
  const std::string answer = app.read_until("hi");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_EQ(answer.find("l5d-client-id"), std::string::npos) << answer;
  // The connection is kept: the next request brings no other handshake.
  ASSERT_TRUE(app.write(get));
  EXPECT_TRUE(peer.read_until("\r\n\r\n").starts_with("GET /x"));
  ASSERT_TRUE(peer.write(ok));
  EXPECT_TRUE(app.read_until("hi").starts_with("HTTP/1.1 200"));
  const std::string line = lab_.logged({"\"outbound\"", "\"tls\":\"true\""});
  EXPECT_NE(line.find(web), std::string::npos) << line;
}

TEST_F(LinkerdServer, GetsHttp1UpgradedWhereTheHintSaysHttp2) {
  discover(ProtocolHint::h2, false);
  Peer app = asks(get);
  Peer peer = secured(app_port_);
  H2Peer h2(peer, true);
  const auto stream = h2.wait_request();
  ASSERT_GT(stream, 0);
  const auto& request = h2.message(stream);
  EXPECT_EQ(request.get("l5d-orig-proto"), "HTTP/1.1");
  EXPECT_EQ(request.get(":authority"), "web");
  EXPECT_FALSE(request.has("host"));
  EXPECT_FALSE(request.has("connection"));
  EXPECT_FALSE(request.has("x-hop"));
  EXPECT_FALSE(request.has("l5d-client-id"));
  EXPECT_FALSE(request.has("l5d-dst-override"));
  EXPECT_TRUE(request.has("x-kept"));
  h2.respond(stream, {{":status", "200"}, {"l5d-orig-proto", "HTTP/1.1"}, {"content-length", "2"}}, "hi");
  const std::string answer = app.read_until("hi");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
  EXPECT_EQ(answer.find("l5d-"), std::string::npos) << answer;
}

TEST_F(LinkerdServer, GetsAbsoluteTargetsAndChunksUpgraded) {
  discover(ProtocolHint::h2, false);
  Peer app = asks(
      "POST http://web.shop/p?q HTTP/1.1\r\nhost: other\r\ntransfer-encoding: "
      "chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  Peer peer = secured(app_port_);
  H2Peer h2(peer, true);
  const auto stream = h2.wait_request();
  ASSERT_GT(stream, 0);
  const auto& request = h2.message(stream);
  EXPECT_EQ(request.get("l5d-orig-proto"), "HTTP/1.1; absolute-form");
  EXPECT_EQ(request.get(":authority"), "web.shop");
  EXPECT_EQ(request.get(":path"), "/p?q");
  EXPECT_FALSE(request.has("transfer-encoding"));
  EXPECT_EQ(request.body, "abc");
  h2.respond(stream, {{":status", "204"}});
  EXPECT_TRUE(app.read_until("\r\n\r\n").starts_with("HTTP/1.1 204"));
}

TEST_F(LinkerdServer, GetsHttp2AsItIs) {
  discover(ProtocolHint::none, false);
  Peer app = client();
  H2Peer asking(app, false);
  const auto asked =
      asking.request({{":method", "GET"}, {":scheme", "http"}, {":authority", "web"}, {":path", "/2"}});
  Peer peer = secured(app_port_);
  H2Peer h2(peer, true);
  const auto stream = h2.wait_request();
  ASSERT_GT(stream, 0);
  EXPECT_FALSE(h2.message(stream).has("l5d-orig-proto"));
  h2.respond(stream, {{":status", "200"}}, "two");
  EXPECT_EQ(asking.wait(asked).body, "two");
}

TEST_F(LinkerdServer, GetsTheHeaderBeforeHttp2) {
  discover(ProtocolHint::h2, true);
  Peer app = asks(get);
  Peer peer = with_header(header_bytes(app_port() + session_http2));
  EXPECT_EQ(peer.server_name(), web);
  EXPECT_EQ(peer.peer_names(), std::vector<std::string>{pod_->identity});
  H2Peer h2(peer, true);
  const auto stream = h2.wait_request();
  ASSERT_GT(stream, 0);
  EXPECT_EQ(h2.message(stream).get("l5d-orig-proto"), "HTTP/1.1");
  h2.respond(stream, {{":status", "200"}, {"content-length", "2"}}, "hi");
  EXPECT_TRUE(app.read_until("hi").starts_with("HTTP/1.1 200"));
  EXPECT_FALSE(app_port_.accept(std::chrono::milliseconds(50)));
}

TEST_F(LinkerdServer, GetsTheHeaderBeforeHttp1) {
  discover(ProtocolHint::none, true);
  Peer app = asks(get);
  Peer peer = with_header(header_bytes(app_port() + session_http1));
  expect_clean(peer.read_until("\r\n\r\n"));
  ASSERT_TRUE(peer.write(ok));
  EXPECT_TRUE(app.read_until("hi").starts_with("HTTP/1.1 200"));
}

TEST_F(LinkerdServer, GetsTheHeaderBeforeBytes) {
  discover(ProtocolHint::opaque, true, true);
  Peer app = asks("GET is no HTTP here\r\n\r\n");
  Peer peer = with_header(header_bytes(app_port()));
  EXPECT_EQ(peer.read_until("\r\n\r\n"), "GET is no HTTP here\r\n\r\n");
  ASSERT_TRUE(peer.write("answer"));
  peer.finish();
  EXPECT_EQ(app.read_rest(), "answer");
  app.finish();
  EXPECT_EQ(peer.read_rest(), "");
}

TEST_F(LinkerdServer, SpeaksFirstBehindTheHeader) {
  discover(ProtocolHint::none, true);
  Peer app = client();
  Peer peer = with_header(header_bytes(app_port()));
  ASSERT_TRUE(peer.write("220 hello\r\n"));
  EXPECT_EQ(app.read_until("\n"), "220 hello\r\n");
}

// An endpoint that is declared opaque is sent bytes, also when its service is not and the client speaks HTTP.
TEST_F(LinkerdServer, GetsNoSessionProtocolWhereItIsOpaque) {
  discover(ProtocolHint::opaque, true);
  Peer two = client();
  H2Peer asking(two, false);
  asking.request({{":method", "GET"}, {":scheme", "http"}, {":authority", "web"}, {":path", "/2"}});
  Peer peer_of_two = with_header(header_bytes(app_port()));
  H2Peer h2(peer_of_two, true);
  ASSERT_GT(h2.wait_request(), 0);
  Peer one = asks(get);
  Peer peer_of_one = with_header(header_bytes(app_port()));
  EXPECT_TRUE(peer_of_one.read_until("\r\n\r\n").starts_with("GET /x HTTP/1.1\r\n"));
}

// What follows a switch of protocols is nobody's HTTP/2: it gets a connection of its own.
TEST_F(LinkerdServer, GetsUpgradesAsHttp1OnAConnectionOfTheirOwn) {
  discover(ProtocolHint::h2, true);
  Peer app = asks("GET /chat HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
  Peer peer = with_header(header_bytes(app_port() + session_http1));
  const std::string head = peer.read_until("\r\n\r\n");
  EXPECT_TRUE(head.starts_with("GET /chat HTTP/1.1\r\n")) << head;
  EXPECT_NE(head.find("pgrade: echo"), std::string::npos) << head;
  ASSERT_TRUE(
      peer.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nfirst"));
  EXPECT_TRUE(app.read_until("first").starts_with("HTTP/1.1 101"));
  ASSERT_TRUE(app.write("second"));
  EXPECT_EQ(peer.read(6), "second");
}

// TLS of the app's own towards somebody outside of the mesh.
TEST_F(LinkerdServer, IsNoPartyToTlsThatIsNotTheMeshs) {
  EndpointInfo outside;
  outside.address = app_port_.address();
  lab_.discover(vip, {outside});
  Peer app = client();
  std::optional<Peer> far;
  std::thread server([&] {
    far = app_port_.accept();
    while (far && !far->has_bytes()) far = app_port_.accept();
    if (!far) return;
    EXPECT_TRUE(far->accept_tls(lab_.linkerd_server("example.test"))) << far->failure();
  });
  PeerTls with{lab_.authority.root_pem(), std::nullopt, "example.test", {"h2"}, {}, false};
  EXPECT_TRUE(app.connect_tls(with)) << app.failure();
  server.join();
  ASSERT_TRUE(far);
  EXPECT_EQ(far->server_name(), "example.test");
  EXPECT_EQ(far->offered_alpn(), std::vector<std::string>{"h2"});
  EXPECT_TRUE(far->peer_names().empty());
  app.finish();
  far->finish();
  const std::string line = lab_.logged({"\"outbound\"", "\"protocol\":\"tls\""});
  EXPECT_NE(line.find("\"server_name\":\"example.test\""), std::string::npos) << line;
}

TEST_F(LinkerdServer, IsKnownFromTheFirstConnectionOn) {
  discover(ProtocolHint::opaque, true, true);
  // Three at once to a peer of unknown kind, then three more: one handshake for each, none to find out.
  for (int round = 0; round < 2; ++round) {
    std::vector<Peer> apps, peers;
    for (int i = 0; i < 3; ++i) apps.push_back(asks("\x01"));
    for (int i = 0; i < 3; ++i) {
      peers.push_back(with_header(header_bytes(app_port())));
      EXPECT_EQ(peers.back().read(1), "\x01");
    }
    EXPECT_FALSE(own_port_.accept(std::chrono::milliseconds(50)));
  }
  EXPECT_FALSE(app_port_.accept(std::chrono::milliseconds(50)));
}

TEST_F(LinkerdServer, IsNotTakenForWhatItWasBefore) {
  discover(ProtocolHint::none, false);
  Peer app = asks(get);
  Peer peer = secured(app_port_);
  peer.read_until("\r\n\r\n");
  // Discovery's word changes the wire of what comes next.
  discover(ProtocolHint::none, true);
  Peer next = asks(get);
  Peer next_peer = with_header(header_bytes(app_port() + session_http1));
  EXPECT_TRUE(next_peer.read_until("\r\n\r\n").starts_with("GET /x"));
}

TEST_F(LinkerdServer, IsRefusedUnderAnotherIdentity) {
  for (const bool with_header : {false, true}) {
    discover(ProtocolHint::none, with_header);
    Peer app = asks(get);
    // As often as the request may be tried.
    PeerListener& at = with_header ? own_port_ : app_port_;
    int handshakes = 0;
    while (auto peer = at.accept(std::chrono::milliseconds(300))) {
      EXPECT_FALSE(peer->accept_tls(lab_.linkerd_server(
          "mallory.linkerd-shop.serviceaccount.identity.linkerd.cluster.local", {transport_alpn})));
      ++handshakes;
    }
    EXPECT_GE(handshakes, 1);
    const std::string answer = app.read_until("\r\n\r\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 502")) << answer;
  }
}

TEST_F(LinkerdServer, IsToldNothingWhereItTakesNoHeader) {
  discover(ProtocolHint::opaque, true, true);
  Peer app = asks("\x01secret");
  Peer peer = secured(own_port_, {});
  EXPECT_EQ(peer.alpn(), "");
  const std::string got = peer.read_some();
  EXPECT_TRUE(got == "<reset>" || got == "<truncated>") << got;
  EXPECT_EQ(app.read_some(), "<reset>");
}

TEST_F(LinkerdServer, MayFailInItsHandshakeWhileAnotherEndpointServes) {
  PeerListener other("127.0.0.21");
  EndpointInfo second = endpoint(ProtocolHint::none, false);
  second.address = other.address();
  for (const bool bytes : {true, false}) {
    lab_.discover(vip, {endpoint(ProtocolHint::none, false), second}, bytes);
    // Requests begin with the one that breaks.
    lab_.run([&] {
      for (const auto& each : lab_.rig().directory->known[vip]->balancer.endpoints()) {
        if (each->info.address != other.address()) continue;
        each->ewma_ns = 1e9;
        each->ewma_at = Endpoint::Clock::now();
      }
    });
    std::atomic<bool> over{false};
    std::atomic<int> hung_up{0};
    std::thread broken([&] {
      while (!over) {
        auto peer = app_port_.accept(std::chrono::milliseconds(20));
        if (!peer || !peer->has_bytes()) continue;
        // In the middle of the handshake: its ClientHello came.
        if (++hung_up % 2 == 0) {
          peer->finish();
        } else {
          peer->reset();
        }
      }
    });
    std::vector<Peer> kept;
    for (int i = 0; i < 12; ++i) {
      Peer app = asks(bytes ? "\x01hi" : get);
      Peer peer = secured(other);
      if (bytes) {
        EXPECT_EQ(peer.read(3), "\x01hi");
      } else {
        EXPECT_TRUE(peer.read_until("\r\n\r\n").starts_with("GET /x"));
        EXPECT_TRUE(peer.write(ok));
        EXPECT_TRUE(app.read_until("hi").starts_with("HTTP/1.1 200"));
        peer.finish();
      }
      kept.push_back(std::move(app));
      kept.push_back(std::move(peer));
    }
    over = true;
    broken.join();
    EXPECT_GT(hung_up, 0);
  }
}

// Discovery told of it before its node enrolled it.
TEST_F(LinkerdServer, IsWaitedForWhileItIsNotInTheMeshYet) {
  for (const bool bytes : {true, false}) {
    discover(ProtocolHint::none, false, bytes);
    Peer app = asks(bytes ? "\x01hi" : get);
    for (int i = 0; i < 6; ++i) {
      auto unmeshed = app_port_.accept();
      ASSERT_TRUE(unmeshed) << "nobody dials";
      EXPECT_TRUE(unmeshed->has_bytes());
      if (i % 2 == 0) {
        EXPECT_TRUE(unmeshed->write("HTTP/1.1 400 Bad Request\r\n\r\n"));
        unmeshed->finish();
      } else {
        unmeshed->reset();
      }
    }
    Peer peer = secured(app_port_);
    if (bytes) {
      EXPECT_EQ(peer.read(3), "\x01hi");
    } else {
      EXPECT_TRUE(peer.read_until("\r\n\r\n").starts_with("GET /x"));
      EXPECT_TRUE(peer.write(ok));
      EXPECT_TRUE(app.read_until("hi").starts_with("HTTP/1.1 200"));
    }
  }
}

// It was released before discovery told.
TEST_F(LinkerdServer, IsReachedInPlaintextOnceDiscoveryTellsThatItLeftTheMesh) {
  for (const bool bytes : {true, false}) {
    discover(ProtocolHint::none, false, bytes);
    Peer app = asks(bytes ? "\x01hi" : get);
    auto unmeshed = app_port_.accept();
    ASSERT_TRUE(unmeshed) << "nobody dials";
    EXPECT_TRUE(unmeshed->has_bytes());
    lab_.run([&] {
      EndpointInfo released = endpoint(ProtocolHint::none, false);
      released.identity = released.server_name = {};
      lab_.rig().directory->known[vip]->balancer.update({released});
    });
    unmeshed->reset();
    std::string got;
    while (!got.ends_with("hi") && !got.ends_with("\r\n\r\n")) {
      auto plain = app_port_.accept();
      ASSERT_TRUE(plain) << "nobody dials";
      got = bytes ? plain->read(3) : plain->read_until("\r\n\r\n");
      if (!bytes && got.ends_with("\r\n\r\n")) {
        EXPECT_TRUE(plain->write(ok));
        EXPECT_TRUE(app.read_until("hi").starts_with("HTTP/1.1 200"));
      }
    }
    EXPECT_TRUE(bytes ? got == "\x01hi" : got.starts_with("GET /x")) << got;
  }
}

TEST_F(LinkerdServer, MayResetBeforeTheHeaderWithoutKeepingTheClientWaiting) {
  lab_.run([&] { lab_.worker().tls = std::make_unique<BrokenTls>(lab_.worker().loop); });
  discover(ProtocolHint::opaque, true, true);
  Peer app = client();
  app.set_limit(std::chrono::seconds(3));
  EXPECT_EQ(app.read_some(), "<reset>");
}

// Ids of pods are given again; what one pod's connections prove must not serve the next.
TEST_F(LinkerdServer, NeverMeetsTheIdentityOfAPodThatIsGone) {
  discover(ProtocolHint::h2, false);
  Peer app = asks(get);
  Peer peer = secured(app_port_);
  H2Peer h2(peer, true);
  h2.respond(h2.wait_request(), {{":status", "200"}, {"content-length", "2"}}, "hi");
  EXPECT_TRUE(app.read_until("hi").starts_with("HTTP/1.1 200"));
  lab_.remove_pod(pod_);
  const PodRef next = lab_.add_pod(1, "127.0.0.10", [](Pod& p) {
    p.netns_cookie = 77;
    p.identity = "other.shop.serviceaccount.identity.heddle.cluster.local";
  });
  Peer other = Peer::dial(lab_.listen_outbound(next, vip));
  ASSERT_TRUE(other.write(get));
  Peer other_peer = secured(app_port_);
  EXPECT_EQ(other_peer.peer_names(), std::vector<std::string>{next->identity});
  // And the old one's connection, which would hold its network namespace, ends.
  EXPECT_EQ(h2.wait_request(), -1);
}

}  // namespace
}  // namespace heddle::proxy::test
