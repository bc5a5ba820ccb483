// SPDX-License-Identifier: Apache-2.0
// What the policy makes of Linkerd's proxy as a client, and what is counted and logged of it.
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

#include "tests/integration/linkerd/linkerd_client.h"

namespace heddle::proxy::test {
namespace {

TEST_F(LinkerdClient, NeedsAnIdentityWhereThePolicySaysSo) {
  pod_ = lab_.add_pod(2, "127.0.0.5", [](Pod& p) { p.policy = InboundPolicy::all_authenticated; });
  PeerTls anonymous = lab_.linkerd_client(pod_);
  anonymous.own.reset();
  Peer http = dial(port());
  ASSERT_TRUE(http.connect_tls(anonymous)) << http.failure();
  ASSERT_TRUE(http.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
  const std::string answer = http.read_until("\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 403")) << answer;
  Peer bytes = dial(port());
  ASSERT_TRUE(bytes.connect_tls(anonymous)) << bytes.failure();
  bytes.write("\x01");
  EXPECT_TRUE(refused(bytes));
  EXPECT_TRUE(nobody_speaks_to_the_app());
  // With its certificate it gets in, by either wire.
  Peer known = secured(port());
  ASSERT_TRUE(known.write("\x01"));
  EXPECT_TRUE(app_.accept());
  Peer behind_header = on_4143();
  ASSERT_TRUE(behind_header.write(header_bytes(port_field(port())) + "\x01"));
  EXPECT_TRUE(app_.accept());
}

TEST_F(LinkerdClient, IsDeniedBehindAHeaderWhatThePolicyDenies) {
  pod_ = lab_.add_pod(2, "127.0.0.5", [](Pod& p) { p.policy = InboundPolicy::deny; });
  Peer bytes = on_4143();
  ASSERT_TRUE(bytes.write(header_bytes(port_field(port())) + "\x01"));
  EXPECT_TRUE(refused(bytes));
  Peer http = on_4143();
  ASSERT_TRUE(
      http.write(header_bytes(port_field(port()) + session_http1) + "GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
  EXPECT_TRUE(http.read_until("\r\n\r\n").starts_with("HTTP/1.1 403"));
  EXPECT_TRUE(nobody_speaks_to_the_app());
}

TEST_F(LinkerdClient, LosesItsConnectionsWhenThePolicyTightens) {
  Peer over_tls = secured(port());
  ASSERT_TRUE(over_tls.write("\x01"));
  auto app = app_asked();
  ASSERT_TRUE(app);
  Peer behind_header = on_4143();
  ASSERT_TRUE(behind_header.write(header_bytes(port_field(port())) + "\x01"));
  auto other_app = app_asked();
  ASSERT_TRUE(other_app);
  Peer http = secured(port());
  ASSERT_TRUE(http.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
  auto web = app_asked();
  ASSERT_TRUE(web);
  web->read_until("\r\n\r\n");
  ASSERT_TRUE(web->write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
  EXPECT_TRUE(http.read_until("\r\n\r\n").starts_with("HTTP/1.1 200"));

  lab_.change_pod(pod_, [](Pod& p) { p.policy = InboundPolicy::deny; });
  EXPECT_TRUE(refused(over_tls));
  EXPECT_TRUE(refused(behind_header));
  EXPECT_TRUE(errors("policy", 2));
  // Requests are judged one by one.
  ASSERT_TRUE(http.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
  EXPECT_TRUE(http.read_until("\r\n\r\n").starts_with("HTTP/1.1 403"));
  EXPECT_TRUE(lab_.eventually(
      [&] { return lab_.metric("inbound_http_authz_deny_total", {"authz_name=\"default:deny\""}) == 1; }));
}

TEST_F(LinkerdClient, LosesWhatItsRequestSwitchedToWhenThePolicyTightens) {
  Peer client = secured(port());
  ASSERT_TRUE(client.write("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"));
  auto app = app_asked();
  ASSERT_TRUE(app);
  app->read_until("\r\n\r\n");
  ASSERT_TRUE(
      app->write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n!"));
  EXPECT_TRUE(client.read_until("!").starts_with("HTTP/1.1 101"));
  lab_.change_pod(pod_, [](Pod& p) { p.policy = InboundPolicy::deny; });
  EXPECT_TRUE(refused(client));
}

TEST_F(LinkerdClient, IsCountedOnceHoweverTheAppWasDialled) {
  // Silent for so long that the app is dialled, then TLS: not an anonymous connection besides.
  Peer client = dial(port());
  auto early = app_.accept();
  ASSERT_TRUE(early);
  ASSERT_TRUE(client.connect_tls(lab_.linkerd_client(pod_)));
  EXPECT_EQ(early->read_some(), "<reset>");
  ASSERT_TRUE(client.write("\x01"));
  ASSERT_TRUE(app_asked());
  EXPECT_EQ(lab_.metric("inbound_tcp_authz_allow_total", {"client_id=\"" + stranger + "\""}), 1);
  EXPECT_EQ(lab_.metric("inbound_tcp_authz_allow_total", {"client_id=\"\""}), -1);
  // A server that speaks first to a client without TLS is one, too.
  Peer plain = dial(port());
  auto greeting = app_.accept();
  ASSERT_TRUE(greeting);
  ASSERT_TRUE(greeting->write("hello"));
  EXPECT_EQ(plain.read(5), "hello");
  EXPECT_EQ(lab_.metric("inbound_tcp_authz_allow_total", {"client_id=\"\""}), 1);
}

TEST_F(LinkerdClient, IsNotHeldResponsibleForADialBeforeItsHandshake) {
  const SocketAddress late{IpAddress::parse("127.0.0.5").value(),
                           port() == 9 ? std::uint16_t{10} : std::uint16_t{9}};
  const int dials = lab_.rig().requests;
  Peer client = dial(late.port);
  // The dial takes a socket of the reserve, which is filled up then; it fails at once.
  ASSERT_TRUE(lab_.eventually([&] { return lab_.rig().requests > dials; }));
  ASSERT_TRUE(lab_.eventually([&] { return lab_.rig().dialer->waiting() == 0; }));
  PeerListener app("127.0.0.5", late.port);
  ASSERT_TRUE(client.connect_tls(lab_.linkerd_client(pod_))) << client.failure();
  ASSERT_TRUE(client.write("\x01"));
  auto served = app.accept();
  ASSERT_TRUE(served);
  EXPECT_EQ(served->read(1), "\x01");
}

TEST_F(LinkerdClient, CannotClaimToBeAtAnotherAddress) {
  for (const auto& [claimed, shown] : {std::pair{"10.9.9.9:1", "\"client\":\"127.0.0.1:"},
                                       std::pair{"127.0.0.1:77", "\"client\":\"127.0.0.1:77\""}}) {
    Peer client = secured(port(), {"heddle/1"});
    ASSERT_EQ(client.alpn(), "heddle/1");
    H2Peer h2(client, false);
    const auto stream = h2.request({{":method", "CONNECT"},
                                    {":authority", "127.0.0.5:" + std::to_string(port())},
                                    {"heddle-client", claimed}},
                                   "\x01question");
    auto app = app_asked();
    ASSERT_TRUE(app);
    EXPECT_EQ(app->read(9), "\x01question");
    ASSERT_TRUE(app->write("answer"));
    app->finish();
    EXPECT_EQ(h2.wait(stream).body, "answer");
    EXPECT_NE(lab_.logged({shown, "\"bytes_in\":9"}), "") << claimed;
    EXPECT_EQ(lab_.logged({shown, "10.9.9.9"}, std::chrono::milliseconds(0)), "");
  }
}

TEST_F(LinkerdClient, IsNamedWhereThePolicyIsAudit) {
  std::ostringstream text;
  const auto usual = spdlog::default_logger();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("audited", std::make_shared<spdlog::sinks::ostream_sink_mt>(text)));
  pod_ = lab_.add_pod(2, "127.0.0.5", [](Pod& p) { p.policy = InboundPolicy::audit; });
  Peer http = secured(port());
  ASSERT_TRUE(http.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
  ASSERT_TRUE(app_asked());
  EXPECT_EQ(lab_.metric("inbound_http_authz_allow_total", {"authz_name=\"default:audit\"", stranger}), 1);
  lab_.run([&] { EXPECT_NE(text.str().find("policy audit: let in"), std::string::npos) << "the request"; });
  std::vector<Peer> kept;
  for (int i = 0; i < 15; ++i) {
    kept.push_back(on_4143());
    ASSERT_TRUE(kept.back().write(header_bytes(port_field(port())) + "\x01"));
    kept.push_back(*app_asked());
  }
  EXPECT_EQ(lab_.metric("inbound_tcp_authz_allow_total", {"authz_name=\"default:audit\"", stranger}), 15);
  lab_.run([&] { spdlog::set_default_logger(usual); });
  const std::string log = text.str();
  EXPECT_NE(log.find("policy audit: let in pod=shop/pod-2 port=" + std::to_string(port())), std::string::npos)
      << log;
  EXPECT_NE(log.find("client_id=" + stranger + " tls=true authz=default:audit"), std::string::npos) << log;
}

}  // namespace
}  // namespace heddle::proxy::test
