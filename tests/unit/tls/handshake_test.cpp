// SPDX-License-Identifier: Apache-2.0
#include <openssl/ssl.h>
#include <signal.h>

#include "tests/unit/tls/pair.h"

namespace heddle::proxy::tls {
namespace {

using namespace std::chrono_literals;
using TlsHandshake = TlsPair;

TEST_F(TlsHandshake, ProvesBothIdentities) {
  shake();
  ASSERT_TRUE(*client->result) << client->result->error().message();
  ASSERT_TRUE(*server->result) << server->result->error().message();
  EXPECT_EQ((*client->result)->session.peer_identity, web);
  EXPECT_EQ((*server->result)->session.peer_identity, client_name);
  EXPECT_EQ((*server->result)->session.server_name, web);
}

TEST_F(TlsHandshake, PrefersHeddlesOwnProtocol) {
  shake(web, {alpn_transport, alpn_heddle});
  EXPECT_EQ((*client->result)->session.alpn, alpn_heddle);
  EXPECT_EQ((*server->result)->session.alpn, alpn_heddle);
}

TEST_F(TlsHandshake, TakesLinkerdsTransportWhereOnlyThatIsOffered) {
  shake(web, {alpn_transport});
  EXPECT_EQ((*server->result)->session.alpn, alpn_transport);
}

// Linkerd's transport belongs to the mesh's own port, heddle's to the apps'.
TEST_F(TlsHandshake, TakesNoProtocolThatIsNotServedHere) {
  auto [a, b] = sockets();
  client->handshake = client->endpoint->connect(
      make_tcp_stream(loop.loop, std::move(a)), client->pod, web, web, both_protocols, 5s,
      [this](Result<Established> r) { client->result = std::move(r); });
  server->handshake = server->endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), server->pod,
                                               IpAddress{}, {alpn_transport}, 5s,
                                               [&](Result<Established> r) { server->result = std::move(r); });
  ASSERT_TRUE(loop.until([&] { return client->result && server->result; }));
  EXPECT_EQ((*client->result)->session.alpn, alpn_transport);
  EXPECT_EQ((*server->result)->session.alpn, alpn_transport);
}

TEST_F(TlsHandshake, GoesOnWithoutAProtocolWhenNoneIsCommon) {
  shake(web, {"h2", "http/1.1"});
  ASSERT_TRUE(*client->result);
  EXPECT_EQ((*client->result)->session.alpn, "");
}

TEST_F(TlsHandshake, GoesOnWithoutAlpn) {
  shake(web, {});
  ASSERT_TRUE(*client->result);
  EXPECT_EQ((*server->result)->session.alpn, "");
}

TEST_F(TlsHandshake, RefusesAServerThatIsSomebodyElse) {
  shake("admin.shop.serviceaccount.identity.heddle.cluster.local");
  ASSERT_FALSE(*client->result);
  EXPECT_EQ(client->result->error().code, make_error_code(Errc::permission_denied));
  EXPECT_NE(client->result->error().detail.find("not for admin.shop"), std::string::npos)
      << client->result->error().message();
  EXPECT_FALSE(*server->result);
}

TEST_F(TlsHandshake, TakesNoWildcardForAnIdentity) {
  server = std::make_unique<Side>(loop.loop, issue(authority, "*.heddle.cluster.local", anchors));
  shake("web.heddle.cluster.local");
  ASSERT_FALSE(*client->result);
  EXPECT_EQ(client->result->error().code, make_error_code(Errc::permission_denied));
}

TEST_F(TlsHandshake, MatchesAUriName) {
  const std::string uri = "spiffe://root.linkerd.cluster.local/workload";
  server = std::make_unique<Side>(loop.loop, issue(authority, uri, anchors));
  auto [a, b] = sockets();
  client->handshake =
      client->endpoint->connect(make_tcp_stream(loop.loop, std::move(a)), client->pod, uri, "workload", {},
                                5s, [&](Result<Established> r) { client->result = std::move(r); });
  server->handshake = server->endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), server->pod,
                                               IpAddress{}, both_protocols, 5s,
                                               [&](Result<Established> r) { server->result = std::move(r); });
  ASSERT_TRUE(loop.until([&] { return client->result && server->result; }));
  ASSERT_TRUE(*client->result) << client->result->error().message();
  EXPECT_EQ((*client->result)->session.peer_identity, uri);
  EXPECT_EQ((*server->result)->session.server_name, "workload");
}

TEST_F(TlsHandshake, RefusesAServerOfAnUnknownAuthority) {
  test::Authority other("another root");
  server = std::make_unique<Side>(loop.loop, issue(other, web, anchors_of(other)));
  shake();
  ASSERT_FALSE(*client->result);
  EXPECT_EQ(client->result->error().code, make_error_code(Errc::permission_denied));
  EXPECT_NE(client->result->error().detail.find("does not verify"), std::string::npos)
      << client->result->error().message();
}

TEST_F(TlsHandshake, RefusesAClientOfAnUnknownAuthority) {
  test::Authority other("another root");
  client = std::make_unique<Side>(loop.loop, issue(other, client_name, anchors));
  shake();
  ASSERT_FALSE(*server->result);
  EXPECT_EQ(server->result->error().code, make_error_code(Errc::permission_denied));
}

TEST_F(TlsHandshake, TrustsEveryRootOfTheBundle) {
  test::Authority other("another root");
  const auto both = parse_trust_anchors(authority.root_pem() + other.root_pem(), "test").value();
  client = std::make_unique<Side>(loop.loop, issue(authority, client_name, both));
  server = std::make_unique<Side>(loop.loop, issue(other, web, both));
  shake();
  EXPECT_TRUE(*client->result) << client->result->error().message();
  EXPECT_TRUE(*server->result) << server->result->error().message();
}

TEST_F(TlsHandshake, SendsNothingWithoutACertificate) {
  auto [a, b] = sockets();
  auto nobody = std::make_unique<Side>(loop.loop, nullptr);
  nobody->handshake =
      nobody->endpoint->connect(make_tcp_stream(loop.loop, std::move(a)), nobody->pod, web, web, {}, 5s,
                                [&](Result<Established> r) { nobody->result = std::move(r); });
  EXPECT_FALSE(nobody->result) << "called back from inside connect()";
  ASSERT_TRUE(loop.until([&] { return nobody->result.has_value(); }));
  EXPECT_EQ(nobody->result->error().code, make_error_code(Errc::unavailable));
  EXPECT_FALSE(nobody->endpoint->certified(*nobody->pod));
  char byte = 0;
  EXPECT_LE(::recv(b.get(), &byte, 1, 0), 0);
}

TEST_F(TlsHandshake, TreatsAnExpiredCertificateOfItsOwnAsNone) {
  client = std::make_unique<Side>(loop.loop, issue(authority, client_name, anchors, -5s));
  EXPECT_FALSE(client->endpoint->certified(*client->pod));
  shake();
  EXPECT_EQ(client->result->error().code, make_error_code(Errc::unavailable));
}

TEST_F(TlsHandshake, RefusesAnExpiredPeer) {
  // The peer does not know: its clock, here its record of the certificate's end, is wrong.
  auto expired = std::make_shared<Context>(*issue(authority, web, anchors, -5s));
  expired->valid_until = std::chrono::system_clock::now() + 1h;
  server = std::make_unique<Side>(loop.loop, expired);
  shake();
  ASSERT_FALSE(*client->result);
  EXPECT_NE(client->result->error().detail.find("expired"), std::string::npos)
      << client->result->error().message();
}

TEST_F(TlsHandshake, GivesUpAfterItsTimeout) {
  auto [a, b] = sockets();
  server->handshake = server->endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), server->pod,
                                               IpAddress{}, both_protocols, 30ms,
                                               [&](Result<Established> r) { server->result = std::move(r); });
  ASSERT_TRUE(loop.until([&] { return server->result.has_value(); }));
  EXPECT_EQ(server->result->error().code, make_error_code(Errc::timeout));
}

TEST_F(TlsHandshake, TellsAPeerThatHungUp) {
  auto [a, b] = sockets();
  server->handshake = server->endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), server->pod,
                                               IpAddress{}, both_protocols, 5s,
                                               [&](Result<Established> r) { server->result = std::move(r); });
  a.reset();
  ASSERT_TRUE(loop.until([&] { return server->result.has_value(); }));
  EXPECT_FALSE(*server->result);
}

TEST_F(TlsHandshake, RefusesWhatIsNoTls) {
  auto [a, b] = sockets();
  server->handshake = server->endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), server->pod,
                                               IpAddress{}, both_protocols, 5s,
                                               [&](Result<Established> r) { server->result = std::move(r); });
  const std::string http = "GET / HTTP/1.1\r\nHost: web\r\n\r\n";
  ASSERT_EQ(::send(a.get(), http.data(), http.size(), 0), static_cast<ssize_t>(http.size()));
  ASSERT_TRUE(loop.until([&] { return server->result.has_value(); }));
  EXPECT_EQ(server->result->error().code, make_error_code(Errc::protocol))
      << server->result->error().message();
}

TEST_F(TlsHandshake, IsCancelledByItsDestruction) {
  auto [a, b] = sockets();
  server->handshake = server->endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), server->pod,
                                               IpAddress{}, both_protocols, 20ms,
                                               [&](Result<Established> r) { server->result = std::move(r); });
  server->handshake.reset();
  bool later = false;
  Timer timer(loop.loop, [&] { later = true; });
  timer.arm(60ms);
  ASSERT_TRUE(loop.until([&] { return later; }));
  EXPECT_FALSE(server->result.has_value());
  EXPECT_TRUE(server->worker->accepting.empty());
}

TEST_F(TlsHandshake, LimitsHandshakesInProgressPerPod) {
  std::vector<Fd> clients;
  std::vector<std::unique_ptr<Handshake>> handshakes;
  std::optional<Result<Established>> last;
  for (int i = 0; i < 257; ++i) {
    auto [a, b] = sockets();
    clients.push_back(std::move(a));
    handshakes.push_back(server->endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), server->pod,
                                                  IpAddress{}, both_protocols, 5s,
                                                  [&](Result<Established> r) { last = std::move(r); }));
  }
  ASSERT_TRUE(loop.until([&] { return last.has_value(); }));
  EXPECT_EQ(last->error().code, make_error_code(Errc::exhausted));
  handshakes.clear();
  EXPECT_TRUE(server->worker->accepting.empty());
}

TEST_F(TlsHandshake, SucceedsBesideAnAddressThatStallsAllItMay) {
  std::vector<Fd> stalled;
  std::vector<std::unique_ptr<Handshake>> handshakes;
  int shed = 0;
  for (int i = 0; i < 300; ++i) {
    auto [a, b] = sockets();
    stalled.push_back(std::move(a));
    handshakes.push_back(server->endpoint->accept(
        make_tcp_stream(loop.loop, std::move(b)), server->pod, IpAddress::v4(0x0a000001), both_protocols, 5s,
        [&](Result<Established> r) { shed += r.has_value() ? 0 : 1; }));
  }
  ASSERT_TRUE(loop.until([&] { return shed == 44; }));
  shake();  // from another address
  ASSERT_TRUE(client->result && server->result);
  EXPECT_TRUE(*client->result) << client->result->error().message();
  EXPECT_TRUE(*server->result) << server->result->error().message();
  EXPECT_EQ(shed, 45) << "one of theirs made room";
  EXPECT_EQ(server->pod->load->refusals.of(Refusal::handshake), 45u);
}

struct AcceptingMember final : Accepting::Member {
  void give_way() override { gave_way = true; }
  bool gave_way = false;
};

class AcceptingOfTwo : public testing::Test {
 protected:
  bool admit(AcceptingMember& member, std::uint32_t from, std::chrono::milliseconds at = 0ms) {
    return accepting.admit(member, 1, IpAddress::v4(from), Accepting::Clock::time_point(at));
  }
  Accepting accepting{2};
  AcceptingMember first, second, third;
};

TEST_F(AcceptingOfTwo, RefusesTheThirdOfOneAddress) {
  EXPECT_TRUE(admit(first, 1));
  EXPECT_TRUE(admit(second, 1));
  EXPECT_FALSE(admit(third, 1, 999ms)) << "what is nearly done is not thrown away for what begins";
  EXPECT_FALSE(first.gave_way || second.gave_way);
}

TEST_F(AcceptingOfTwo, PrefersTheThirdToOneThatStalls) {
  EXPECT_TRUE(admit(first, 1));
  EXPECT_TRUE(admit(second, 1, 500ms));
  EXPECT_TRUE(admit(third, 1, 1000ms));
  EXPECT_TRUE(first.gave_way);
  EXPECT_FALSE(second.gave_way);
}

TEST_F(AcceptingOfTwo, TakesRoomFromWhoHasMost) {
  EXPECT_TRUE(admit(first, 1));
  EXPECT_TRUE(admit(second, 1));
  EXPECT_TRUE(admit(third, 2));
  EXPECT_TRUE(second.gave_way);
  EXPECT_FALSE(first.gave_way);
}

TEST_F(AcceptingOfTwo, CountsEachPodForItself) {
  EXPECT_TRUE(admit(first, 1));
  EXPECT_TRUE(admit(second, 1));
  EXPECT_TRUE(accepting.admit(third, 2, IpAddress::v4(1), {}));
}

// A client that is not ours: OpenSSL over a blocking socket, on its own thread. What that thread writes has
// to be declared before the client, which waits for it.
struct ForeignClient {
  explicit ForeignClient(Fd socket, const char* most = nullptr) : fd(std::move(socket)) {
    ::fcntl(fd.get(), F_SETFL, 0);
    context = SSL_CTX_new(TLS_client_method());
    if (most) SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    ssl = SSL_new(context);
    SSL_set_fd(ssl, fd.get());
  }
  ~ForeignClient() {
    ::shutdown(fd.get(), SHUT_RDWR);  // ends what a failed test left waiting
    if (thread.joinable()) thread.join();
    SSL_free(ssl);
    SSL_CTX_free(context);
  }
  void connect(std::function<void(SSL*)> then = {}) {
    thread = std::thread([this, then] {
      connected = SSL_connect(ssl) == 1;
      if (connected && then) then(ssl);
    });
  }
  Fd fd;
  SSL_CTX* context = nullptr;
  SSL* ssl = nullptr;
  std::atomic<bool> connected{false};
  std::thread thread;
};

TEST_F(TlsHandshake, AllowsAClientWithoutACertificate) {
  auto [a, b] = sockets();
  server->handshake = server->endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), server->pod,
                                               IpAddress{}, both_protocols, 5s,
                                               [&](Result<Established> r) { server->result = std::move(r); });
  ForeignClient foreign(std::move(a));
  foreign.connect();
  ASSERT_TRUE(loop.until([&] { return server->result.has_value(); }));
  ASSERT_TRUE(*server->result) << server->result->error().message();
  EXPECT_EQ((*server->result)->session.peer_identity, "");
  EXPECT_EQ((*server->result)->session.server_name, "");
}

TEST_F(TlsHandshake, RefusesOldVersionsOfTls) {
  auto [a, b] = sockets();
  server->handshake = server->endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), server->pod,
                                               IpAddress{}, both_protocols, 5s,
                                               [&](Result<Established> r) { server->result = std::move(r); });
  ForeignClient foreign(std::move(a), "1.2");
  foreign.connect();
  ASSERT_TRUE(loop.until([&] { return server->result.has_value(); }));
  EXPECT_FALSE(*server->result);
}

TEST_F(TlsHandshake, IssuesNoSessionTickets) {
  auto [a, b] = sockets();
  server->handshake = server->endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), server->pod,
                                               IpAddress{}, both_protocols, 5s,
                                               [&](Result<Established> r) { server->result = std::move(r); });
  static std::atomic<int> tickets;
  tickets = 0;
  std::atomic<bool> read{false};
  ForeignClient foreign(std::move(a));
  SSL_CTX_set_session_cache_mode(foreign.context, SSL_SESS_CACHE_CLIENT);
  SSL_CTX_sess_set_new_cb(foreign.context, [](SSL*, SSL_SESSION*) { return ++tickets, 0; });
  foreign.connect([&](SSL* ssl) {
    char byte = 0;
    read = SSL_read(ssl, &byte, 1) == 1;
  });
  ASSERT_TRUE(loop.until([&] { return server->result.has_value(); }));
  ASSERT_TRUE(*server->result);
  write_text(*(*server->result)->stream, "x");
  ASSERT_TRUE(loop.until([&] { return read.load(); }));
  EXPECT_EQ(tickets, 0);
}

// A client that changes keys for ever gets neither the loop for itself nor keeps its connection.
TEST_F(TlsHandshake, EndsWithAFloodOfKeyUpdates) {
  ::signal(SIGPIPE, SIG_IGN);  // OpenSSL's socket writes into a connection that was reset
  auto [a, b] = sockets();
  server->handshake = server->endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), server->pod,
                                               IpAddress{}, both_protocols, 5s,
                                               [&](Result<Established> r) { server->result = std::move(r); });
  std::atomic<int> sent{0};
  ForeignClient foreign(std::move(a));
  foreign.connect([&](SSL* ssl) {
    while (sent < 1'000'000 && SSL_key_update(ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 &&
           SSL_do_handshake(ssl) == 1)
      ++sent;
  });
  ASSERT_TRUE(loop.until([&] { return server->result.has_value(); }));
  ASSERT_TRUE(*server->result);
  auto stream = std::move((*server->result)->stream);
  Sink sink(*stream);
  EXPECT_TRUE(loop.until([&] { return sink.error != 0; }));
  EXPECT_EQ(sink.error, EPROTO);
  stream.reset();
  EXPECT_LT(sent, 100'000) << "what had been sent meanwhile";
}

TEST_F(TlsHandshake, FollowsAKeyUpdate) {
  auto [a, b] = sockets();
  server->handshake = server->endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), server->pod,
                                               IpAddress{}, both_protocols, 5s,
                                               [&](Result<Established> r) { server->result = std::move(r); });
  std::atomic<bool> echoed{false};
  ForeignClient foreign(std::move(a));
  foreign.connect([&](SSL* ssl) {
    char bytes[8] = {};
    for (int i = 0; i < 100; ++i) {
      SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED);
      SSL_write(ssl, "ping", 4);
      if (SSL_read(ssl, bytes, 4) != 4) return;
    }
    echoed = true;
  });
  ASSERT_TRUE(loop.until([&] { return server->result.has_value(); }));
  ASSERT_TRUE(*server->result);
  auto stream = std::move((*server->result)->stream);
  Sink sink(*stream);
  std::size_t answered = 0;
  EXPECT_TRUE(loop.until([&] {
    if (sink.text.size() >= (answered + 1) * 4) {
      write_text(*stream, "pong");
      ++answered;
    }
    return echoed.load();
  })) << sink.text
      << " error " << sink.error;
}

}  // namespace
}  // namespace heddle::proxy::tls
