// SPDX-License-Identifier: Apache-2.0
// Linkerd's proxy as the client of a pod of ours, on both of its wires.
#include <openssl/ssl.h>

#include <algorithm>

#include "tests/integration/linkerd/linkerd_client.h"

namespace heddle::proxy::test {
namespace {

TEST_F(LinkerdClient, SendsHttp1OverTls) {
  Peer client = secured(port());
  EXPECT_EQ(client.tls_version(), TLS1_3_VERSION);
  EXPECT_EQ(client.peer_names(), std::vector<std::string>{pod_->identity});
  ASSERT_TRUE(client.write("GET /x HTTP/1.1\r\nhost: web\r\nl5d-client-id: admin\r\n\r\n"));
  auto app = app_asked();
  ASSERT_TRUE(app);
  const std::string head = app->read_until("\r\n\r\n");
  EXPECT_TRUE(head.starts_with("GET /x HTTP/1.1\r\n")) << head;
  EXPECT_NE(head.find("l5d-client-id: " + stranger + "\r\n"), std::string::npos) << head;
  EXPECT_EQ(head.find("admin"), std::string::npos) << head;
  ASSERT_TRUE(app->write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"));
  const std::string answer = client.read_until("hi");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
}

TEST_F(LinkerdClient, SendsHttp2OverTls) {
  Peer client = secured(port());
  H2Peer h2(client, false);
  const auto stream =
      h2.request({{":method", "GET"}, {":scheme", "http"}, {":authority", "web"}, {":path", "/h2"}});
  auto app = app_asked();
  ASSERT_TRUE(app);
  H2Peer served(*app, true);
  const auto request = served.wait_request();
  ASSERT_GT(request, 0);
  EXPECT_EQ(served.message(request).get(":path"), "/h2");
  EXPECT_EQ(served.message(request).get("l5d-client-id"), stranger);
  served.respond(request, {{":status", "200"}}, "body");
  const auto& answer = h2.wait(stream);
  EXPECT_EQ(answer.get(":status"), "200");
  EXPECT_EQ(answer.body, "body");
  EXPECT_FALSE(answer.has("l5d-orig-proto"));
}

// linkerd2-proxy upgrades HTTP/1 requests to HTTP/2 towards meshed endpoints.
TEST_F(LinkerdClient, SendsUpgradedHttp1WhichTheAppGetsAsItWas) {
  for (const char* version : {"HTTP/1.1", "HTTP/1.0"}) {
    Peer client = secured(port());
    H2Peer h2(client, false);
    const auto stream = h2.request({{":method", "GET"},
                                    {":scheme", "http"},
                                    {":authority", "web.shop"},
                                    {":path", "/up"},
                                    {"l5d-orig-proto", version}});
    auto app = app_asked();
    ASSERT_TRUE(app);
    const std::string head = app->read_until("\r\n\r\n");
    EXPECT_TRUE(head.starts_with("GET /up " + std::string(version) + "\r\n")) << head;
    EXPECT_EQ(head.find("l5d-orig-proto"), std::string::npos) << head;
    EXPECT_NE(head.find("web.shop"), std::string::npos) << head;
    ASSERT_TRUE(app->write("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes"));
    const auto& answer = h2.wait(stream);
    EXPECT_EQ(answer.get(":status"), "200");
    EXPECT_EQ(answer.get("l5d-orig-proto"), version);
    EXPECT_EQ(answer.body, "yes");
  }
}

TEST_F(LinkerdClient, SendsUpgradedHttp1InAbsoluteForm) {
  Peer client = secured(port());
  H2Peer h2(client, false);
  h2.request({{":method", "GET"},
              {":scheme", "http"},
              {":authority", "web.shop"},
              {":path", "/abs"},
              {"l5d-orig-proto", "HTTP/1.1; absolute-form"}});
  auto app = app_asked();
  ASSERT_TRUE(app);
  const std::string head = app->read_until("\r\n\r\n");
  EXPECT_TRUE(head.starts_with("GET http://web.shop/abs HTTP/1.1\r\n")) << head;
}

TEST_F(LinkerdClient, SendsBytesOverTlsWithHalfCloses) {
  Peer client = secured(port());
  ASSERT_TRUE(client.write(std::string("\x01\x02question", 10)));
  auto app = app_dialled();
  ASSERT_TRUE(app);
  client.finish();
  EXPECT_EQ(app->read_rest(), std::string("\x01\x02question", 10));
  ASSERT_TRUE(app->write("answer"));
  app->finish();
  EXPECT_EQ(client.read_rest(), "answer");
  EXPECT_NE(lab_.logged({"\"inbound\"", "\"opaque\"", stranger}), "");
}

TEST_F(LinkerdClient, WaitsForAServerThatSpeaksFirstOverTls) {
  Peer client = secured(port());
  auto app = app_dialled();
  ASSERT_TRUE(app);
  ASSERT_TRUE(app->write("220 hello\r\n"));
  EXPECT_EQ(client.read_until("\n"), "220 hello\r\n");
  ASSERT_TRUE(client.write("EHLO\r\n"));
  EXPECT_EQ(app->read_until("\n"), "EHLO\r\n");
}

// X25519MLKEM768 is what it offers first; a server that has it not asks for another key share.
TEST_F(LinkerdClient, IsAskedForAnotherKeyShare) {
  Peer client = dial(port());
  PeerTls with = lab_.linkerd_client(pod_);
  with.groups = "P-521:X25519";
  ASSERT_TRUE(client.connect_tls(with)) << client.failure();
  ASSERT_TRUE(client.write("\x01"));
  EXPECT_TRUE(app_dialled());
}

TEST_F(LinkerdClient, GetsNoProtocolAtAnAppsPort) {
  // Neither at the app's port: linkerd2-proxy negotiates its transport at its own port only.
  Peer client = secured(port(), {transport_alpn});
  EXPECT_EQ(client.alpn(), "");
  ASSERT_TRUE(client.write("\x01plain"));
  auto app = app_dialled();
  ASSERT_TRUE(app);
  EXPECT_EQ(app->read(6), "\x01plain");
}

TEST_F(LinkerdClient, SendsBytesBehindAHeader) {
  Peer client = on_4143();
  ASSERT_TRUE(client.write(header_bytes(port_field(port())) + "GET / HTTP/1.1\r\n\r\n"));
  auto app = app_dialled();
  ASSERT_TRUE(app);
  // Bytes are bytes, whatever they look like.
  EXPECT_EQ(app->read(18), "GET / HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(app->write("answer"));
  EXPECT_EQ(client.read(6), "answer");
  client.finish();
  app->finish();
  EXPECT_NE(lab_.logged({"\"inbound\"", "\"opaque\"", stranger, ":" + std::to_string(port())}), "");
}

TEST_F(LinkerdClient, IsGreetedByTheAppAfterNothingButTheHeader) {
  Peer client = on_4143();
  ASSERT_TRUE(client.write(header_bytes(port_field(port()))));
  auto app = app_dialled();
  ASSERT_TRUE(app);
  ASSERT_TRUE(app->write("220 hello\r\n"));
  EXPECT_EQ(client.read_until("\n"), "220 hello\r\n");
}

TEST_F(LinkerdClient, SendsHttp1BehindAHeader) {
  Peer client = on_4143();
  ASSERT_TRUE(client.write(header_bytes(port_field(port()) + session_http1) +
                           "GET /one HTTP/1.1\r\nhost: a\r\nl5d-client-id: admin\r\n\r\n"));
  auto app = app_asked();
  ASSERT_TRUE(app);
  const std::string head = app->read_until("\r\n\r\n");
  EXPECT_TRUE(head.starts_with("GET /one HTTP/1.1\r\n")) << head;
  EXPECT_NE(head.find("l5d-client-id: " + stranger), std::string::npos) << head;
  EXPECT_EQ(head.find("admin"), std::string::npos) << head;
  ASSERT_TRUE(app->write("HTTP/1.1 204 No Content\r\n\r\n"));
  EXPECT_TRUE(client.read_until("\r\n\r\n").starts_with("HTTP/1.1 204"));
}

TEST_F(LinkerdClient, SendsHttp2BehindAHeader) {
  Peer client = on_4143();
  ASSERT_TRUE(client.write(header_bytes(port_field(port()) + session_http2)));
  H2Peer h2(client, false);
  const auto stream = h2.request({{":method", "POST"},
                                  {":scheme", "http"},
                                  {":authority", "web"},
                                  {":path", "/two"},
                                  {"l5d-orig-proto", "HTTP/1.1"}},
                                 "content");
  auto app = app_asked();
  ASSERT_TRUE(app);
  const std::string head = app->read_until("\r\n\r\n");
  EXPECT_TRUE(head.starts_with("POST /two HTTP/1.1\r\n")) << head;
  ASSERT_TRUE(app->write("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n"));
  EXPECT_EQ(h2.wait(stream).get(":status"), "201");
}

TEST_F(LinkerdClient, MaySplitTheHeaderAnywhere) {
  const std::string whole = header_bytes(port_field(port())) + "\x01payload";
  Peer client = on_4143();
  for (const char byte : whole) ASSERT_TRUE(client.write(std::string_view(&byte, 1)));
  auto app = app_dialled();
  ASSERT_TRUE(app);
  EXPECT_EQ(app->read(8), "\x01payload");
}

TEST_F(LinkerdClient, IsRefusedWithAHeaderThatIsNone) {
  const std::string bad[] = {
      header_bytes(""),                                                   // no port
      header_bytes(port_field(0)),                                        //
      header_bytes(port_field(65536)),                                    //
      header_bytes(port_field(~std::uint64_t{0})),                        // -1
      header_bytes("\xff\xff\xff\xff"),                                   // no message
      magic + std::string("\xff\xff\xff\xff", 4) + std::string(64, 'x'),  // 4 GiB
      magic + std::string("\x00\x01\x00\x00", 4) + std::string(64, 'x'),  // 64 KiB and the prefix
      "GET / HTTP/1.1\r\nhost: a\r\n\r\n",                                // none at all
      std::string(100, '\0'),
  };
  double refusals = 0;
  for (const std::string& header : bad) {
    Peer client = on_4143();
    ASSERT_TRUE(client.write(header));
    EXPECT_TRUE(refused(client)) << testing::PrintToString(header);
    EXPECT_TRUE(errors("transport_header", ++refusals)) << testing::PrintToString(header);
  }
  EXPECT_TRUE(nobody_speaks_to_the_app());
}

TEST_F(LinkerdClient, IsRefusedWhenItEndsBeforeItsHeader) {
  Peer client = on_4143();
  ASSERT_TRUE(client.write(magic.substr(0, 10)));
  client.finish();
  EXPECT_TRUE(refused(client));
  EXPECT_TRUE(errors("transport_header", 1));
}

TEST_F(LinkerdClient, DoesNotReachTheMeshsOwnPortsByAHeader) {
  for (const std::uint16_t port : {pod_->inbound_port, pod_->outbound_port}) {
    Peer client = on_4143();
    ASSERT_TRUE(client.write(header_bytes(port_field(port)) + "\x01"));
    EXPECT_TRUE(refused(client)) << port;
  }
}

// A name asks for a gateway, which a pod is not.
TEST_F(LinkerdClient, IsToldApartWhenItLooksForAGateway) {
  Peer client = on_4143();
  ASSERT_TRUE(client.write(
      header_bytes(port_field(port()) + name_field("web.shop.svc.cluster.local") + session_http2)));
  EXPECT_TRUE(refused(client));
  EXPECT_TRUE(errors("gateway", 1));
  EXPECT_TRUE(nobody_speaks_to_the_app());
}

TEST_F(LinkerdClient, NeedsACertificateForTheHeader) {
  Peer client = dial(4143);
  PeerTls with = lab_.linkerd_client(pod_, {transport_alpn});
  with.own.reset();
  ASSERT_TRUE(client.connect_tls(with)) << client.failure();
  client.write(header_bytes(port_field(port())) + "\x01");
  EXPECT_TRUE(refused(client));
  EXPECT_TRUE(errors("anonymous", 1));
  EXPECT_TRUE(nobody_speaks_to_the_app());
}

TEST_F(LinkerdClient, IsRefusedAtItsPortWithoutTheProtocol) {
  for (const std::vector<std::string>& offered :
       {std::vector<std::string>{}, std::vector<std::string>{"h2"}, std::vector<std::string>{"heddle/1"}}) {
    Peer client = secured(4143, offered);
    EXPECT_EQ(client.alpn(), "");
    client.write(header_bytes(port_field(port())) + "\x01");
    EXPECT_TRUE(refused(client));
  }
  EXPECT_TRUE(errors("own_port", 3));
  EXPECT_TRUE(nobody_speaks_to_the_app());
}

TEST_F(LinkerdClient, IsRefusedAtItsPortInPlaintext) {
  for (const std::string& said : {std::string("GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
                                  header_bytes(port_field(port())), std::string("\x01")}) {
    Peer client = dial(4143);
    ASSERT_TRUE(client.write(said));
    EXPECT_EQ(client.read_some(), "<reset>");
  }
  EXPECT_TRUE(nobody_speaks_to_the_app());
}

// A forgiving app would take these for requests, and the name in them for one that was proven.
TEST_F(LinkerdClient, CannotPassANameInWhatIsNearlyARequest) {
  const std::string name = "l5d-client-id: admin\r\n\r\n";
  for (const std::string line : {"GET / HTTP/1.1\n", "GET  / HTTP/1.1\r\n", "\t GET / http/1.1\r\n",
                                 "GET / HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\n"}) {
    Peer client = secured(port());
    ASSERT_TRUE(client.write(line + "host: a\r\n" + name));
    const std::string answer = client.read_until("\r\n");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 505 ")) << line << answer;
  }
  EXPECT_TRUE(nobody_speaks_to_the_app());
}

TEST_F(LinkerdClient, IsRefusedAtItsPortUnderAnotherName) {
  Peer client = dial(4143);
  PeerTls with = lab_.linkerd_client(pod_, {transport_alpn});
  with.server_name = "other.shop.serviceaccount.identity.heddle.cluster.local";
  EXPECT_FALSE(client.connect_tls(with));
  EXPECT_TRUE(nobody_speaks_to_the_app());
}

// TLS under another name is the app's own.
TEST_F(LinkerdClient, PassesThroughUnderAnotherName) {
  Peer client = dial(port());
  std::optional<Peer> app;
  std::thread server([&] {
    app = app_.accept();
    if (!app) return;
    EXPECT_TRUE(app->accept_tls(lab_.linkerd_server("app.example"))) << app->failure();
  });
  PeerTls with = lab_.linkerd_client(pod_);
  with.server_name = "App.Example";
  EXPECT_TRUE(client.connect_tls(with)) << client.failure();
  server.join();
  ASSERT_TRUE(app);
  EXPECT_EQ(client.peer_names(), std::vector<std::string>{"app.example"});
  EXPECT_EQ(app->server_name(), "App.Example");
  ASSERT_TRUE(client.write("secret"));
  EXPECT_EQ(app->read(6), "secret");
  client.finish();
  app->finish();
  const std::string line = lab_.logged({"\"inbound\"", "\"tls\":\"opaque\""});
  EXPECT_NE(line.find("\"server_name\":\"app.example\""), std::string::npos) << line;
}

TEST_F(LinkerdClient, IsRefusedWithACertificateOfAnotherRoot) {
  Authority other("another root");
  for (const std::uint16_t to : {std::uint16_t{4143}, port()}) {
    Peer client = dial(to);
    PeerTls with = lab_.linkerd_client(pod_, {transport_alpn});
    Authority::Leaf leaf;
    leaf.names = {stranger};
    with.own = other.issue(leaf);
    // In TLS 1.3 a client is done before the server has looked at its certificate.
    client.connect_tls(with);
    client.write("\x01");
    EXPECT_TRUE(refused(client));
  }
  EXPECT_TRUE(errors("tls", 2));
  EXPECT_TRUE(nobody_speaks_to_the_app());
}

TEST_F(LinkerdClient, IsRefusedWithTls12) {
  for (const std::uint16_t to : {std::uint16_t{4143}, port()}) {
    Peer client = dial(to);
    PeerTls with = lab_.linkerd_client(pod_);
    with.only_tls12 = true;
    EXPECT_FALSE(client.connect_tls(with));
  }
  EXPECT_TRUE(errors("tls", 2));
  EXPECT_TRUE(nobody_speaks_to_the_app());
}

// The app came up between the early dial and the end of the handshake.
TEST_F(LinkerdClient, IsServedBytesAtAPortThatIsDeclaredOpaque) {
  pod_ = lab_.add_pod(2, "127.0.0.5", [&](Pod& p) { p.opaque_ports = {{port(), port()}}; });
  Peer client = secured(port());
  ASSERT_TRUE(client.write("GET / HTTP/1.1\r\n\r\n"));
  auto app = app_asked();
  ASSERT_TRUE(app);
  EXPECT_EQ(app->read_until("\r\n\r\n"), "GET / HTTP/1.1\r\n\r\n");
  // A header that says HTTP knows better.
  Peer http = on_4143();
  ASSERT_TRUE(
      http.write(header_bytes(port_field(port()) + session_http1) + "GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
  auto web = app_asked();
  ASSERT_TRUE(web);
  EXPECT_NE(web->read_until("\r\n\r\n").find("l5d-client-id: " + stranger), std::string::npos);
}

TEST_F(LinkerdClient, MayWriteTheNameInCapitals) {
  Peer client = dial(port());
  PeerTls with = lab_.linkerd_client(pod_);
  std::transform(with.server_name.begin(), with.server_name.end(), with.server_name.begin(), ::toupper);
  ASSERT_TRUE(client.connect_tls(with)) << client.failure();
  EXPECT_EQ(client.peer_names(), std::vector<std::string>{pod_->identity});
}

// Whoever has a certificate of the mesh can speak heddle's wire; it proves a name and no address.

}  // namespace
}  // namespace heddle::proxy::test
