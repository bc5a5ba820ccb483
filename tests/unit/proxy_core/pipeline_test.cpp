// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <sys/time.h>

#include "proxy/http/serve.h"
#include "proxy/inbound/inbound.h"
#include "proxy/outbound/outbound.h"
#include "tests/unit/proxy_core/rig.h"
#include "tests/unit/proxy_core/tcp_pair.h"

namespace heddle::proxy {

// The HTTP seams, recording what they got.
namespace {
struct Handed {
  std::string seam;
  Protocol protocol;
  std::unique_ptr<Stream> stream;
};
std::vector<Handed> handed;
}  // namespace
void serve_outbound_http(Worker&, OutboundConnection, Protocol protocol, std::unique_ptr<Stream> stream) {
  handed.push_back({"outbound", protocol, std::move(stream)});
}
void serve_inbound_http(Worker&, InboundConnection, Protocol protocol, std::unique_ptr<Stream> stream) {
  handed.push_back({"inbound", protocol, std::move(stream)});
}
void serve_inbound_mesh(Worker&, InboundConnection, std::unique_ptr<Stream> stream) {
  handed.push_back({"mesh", Protocol::http2, std::move(stream)});
}

namespace {

using test::read_all;

Settings quick() {
  Settings settings;
  settings.detect_timeout = std::chrono::milliseconds(300);
  settings.outbound_connect_timeout = std::chrono::milliseconds(300);
  settings.inbound_connect_timeout = std::chrono::milliseconds(300);
  return settings;
}

void send(int socket, std::string_view text) {
  ASSERT_EQ(::send(socket, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}

struct PipelineTest : testing::Test {
  PipelineTest() {
    handed.clear();
    pod = rig.add_pod(1, "127.0.0.9");
  }
  ~PipelineTest() override { handed.clear(); }

  // An app's connection to `to`, as the acceptor would hand it over.
  Fd outbound(const SocketAddress& to) {
    test::TcpPair pair;
    serve_outbound(rig.worker, pod, SocketAddress::parse("127.0.0.9:999").value(), to,
                   make_tcp_stream(rig.worker.loop, std::move(pair.server)));
    return std::move(pair.client);
  }
  Fd inbound(const PodRef& to_pod, const SocketAddress& to) {
    test::TcpPair pair;
    serve_inbound(rig.worker, to_pod, SocketAddress::parse("127.0.0.7:999").value(), to,
                  make_tcp_stream(rig.worker.loop, std::move(pair.server)));
    return std::move(pair.client);
  }
  Fd accepted(const test::Server& at) {
    Fd socket;
    EXPECT_TRUE(rig.run_until([&] { return static_cast<bool>(socket = at.accept()); })) << "nobody dialled";
    return socket;
  }
  // Runs until the socket has said `wanted`.
  void expect(int socket, std::string_view wanted) {
    std::string got;
    rig.run_until([&] { return (got += read_all(socket)).size() >= wanted.size(); }, std::chrono::seconds(3));
    EXPECT_EQ(got, wanted);
  }
  void exchange(bool client_first);
  bool idle() {
    return rig.run_until([&] { return rig.worker.connections->size() == 0; });
  }

  test::Rig rig{quick()};
  PodRef pod;
  test::Server server;
};

TEST_F(PipelineTest, LetsTheServerSpeakFirstAndRemembersIt) {
  const Fd client = outbound(server.address);
  const Fd app = accepted(server);
  send(app.get(), "220 hello\r\n");
  expect(client.get(), "220 hello\r\n");
  send(client.get(), "EHLO me\r\n");
  expect(app.get(), "EHLO me\r\n");
  EXPECT_TRUE(rig.directory->known[server.address]->server_speaks_first);
  // The next one is dialled without any wait.
  const Fd next = outbound(server.address);
  EXPECT_TRUE(accepted(server));
}

// gRPC's servers among others send their SETTINGS at once: a client that hesitated would make bytes of all
// others.
TEST_F(PipelineTest, DoesNotTakeTheSettingsOfAnHttp2ServerForTheFirstWord) {
  const Fd client = outbound(server.address);
  const Fd app = accepted(server);
  ASSERT_TRUE(app);
  send(app.get(), std::string("\0\0\6\4\0\0\0\0\0\0\3\0\0\0\x64", 15));
  expect(app.get(), "<reset>");
  EXPECT_FALSE(rig.directory->known[server.address]->server_speaks_first);
  send(client.get(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  ASSERT_TRUE(rig.run_until([&] { return handed.size() == 1; }));
  EXPECT_EQ(handed[0].protocol, Protocol::http2);
}

TEST_F(PipelineTest, EndsTrialsOfTheInterceptionWithoutLookingThemUp) {
  for (const char* nobody : {"192.0.2.1:9", "[2001:db8::1]:9"}) {
    const Fd client = outbound(SocketAddress::parse(nobody).value());
    char byte = 0;
    EXPECT_EQ(::recv(client.get(), &byte, 1, 0), 0) << nobody;  // the end, not a reset
  }
  EXPECT_TRUE(rig.directory->known.empty());
  EXPECT_EQ(rig.worker.connections->size(), 0U);
}

// A held ACK would keep each of these servers from accepting for 200 ms (TCP_DELACK_MAX).
TEST_F(PipelineTest, DoesNotKeepTheServersOfSilentClientsWaiting) {
  const DestinationRef known = rig.directory->lookup(*pod, server.address);
  known->server_speaks_first = true;
  const auto began = Loop::Clock::now();
  for (int i = 0; i < 10; ++i) {
    const Fd client = outbound(server.address);
    const Fd app = accepted(server);
    ASSERT_TRUE(app);
    send(app.get(), "220 hello\r\n");
    expect(client.get(), "220 hello\r\n");
  }
  EXPECT_LT(Loop::Clock::now() - began, std::chrono::seconds(1));
}

// One connection of bytes to a server that is declared opaque, `first` sent by who is named.
void PipelineTest::exchange(bool client_first) {
  const Fd client = outbound(server.address);
  const Fd app = client_first ? Fd() : accepted(server);
  if (client_first) send(client.get(), "question");
  const Fd late = client_first ? accepted(server) : Fd();
  const int at = client_first ? late.get() : app.get();
  if (client_first) expect(at, "question");
  send(at, "word");
  expect(client.get(), "word");
  ::shutdown(client.get(), SHUT_WR);
  ::shutdown(at, SHUT_WR);
  ASSERT_TRUE(idle());
}

TEST_F(PipelineTest, DialsForTheFirstBytesWhereTheClientSpeaksFirst) {
  rig.settings.first_word_wait = std::chrono::minutes(10);
  const DestinationRef known = rig.directory->lookup(*pod, server.address);
  known->opaque = true;
  exchange(true);
  EXPECT_TRUE(known->client_speaks_first);
  const Fd client = outbound(server.address);
  EXPECT_FALSE(
      rig.run_until([&] { return static_cast<bool>(server.accept()); }, std::chrono::milliseconds(50)))
      << "dialled before there was anything to send";
  send(client.get(), "question");
  const Fd app = accepted(server);
  ASSERT_TRUE(app);
  // They came along with the handshake's last ACK: the server finds them as soon as it can accept.
  EXPECT_EQ(read_all(app.get()), "question");
}

TEST_F(PipelineTest, DialsForASilentClientAllTheSameAndLearnsThatTheServerSpeaksFirst) {
  const DestinationRef known = rig.directory->lookup(*pod, server.address);
  known->opaque = true;
  exchange(true);
  ASSERT_TRUE(known->client_speaks_first);
  exchange(false);
  EXPECT_FALSE(known->client_speaks_first);
}

TEST_F(PipelineTest, EndsAnUndialledConnectionWithItsClient) {
  const DestinationRef known = rig.directory->lookup(*pod, server.address);
  known->opaque = true;
  known->client_speaks_first = true;
  rig.settings.first_word_wait = std::chrono::minutes(10);
  Fd client = outbound(server.address);
  set_reset_on_close(client.get());
  client.reset();
  EXPECT_TRUE(idle());
  EXPECT_FALSE(server.accept());
}

TEST_F(PipelineTest, CountsEveryConnectionOnTheSeriesFoundForTheFirst) {
  const DestinationRef known = rig.directory->lookup(*pod, server.address);
  known->opaque = true;
  for (int i = 0; i < 3; ++i) {
    const Fd client = outbound(server.address);
    ASSERT_TRUE(accepted(server));
  }
  ASSERT_EQ(known->series.size(), 1u);
  EXPECT_EQ(known->series[0].upstream->open_total.get(), 3u);
  EXPECT_EQ(known->series[0].client->open_total.get(), 3u);
}

TEST_F(PipelineTest, HandsHttpOnWithoutDiallingAnybody) {
  const Fd client = outbound(server.address);
  send(client.get(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(rig.run_until([&] { return handed.size() == 1; }));
  EXPECT_EQ(handed[0].seam, "outbound");
  EXPECT_EQ(handed[0].protocol, Protocol::http1);
  std::array<std::byte, 100> buffer;
  const IoResult got = handed[0].stream->read(buffer);
  EXPECT_EQ(got.size, 27u);
  EXPECT_FALSE(server.accept());
  EXPECT_TRUE(idle());
}

TEST_F(PipelineTest, DropsTheEarlyDialWhenTheClientSpeaksHttpAfterAll) {
  const Fd client = outbound(server.address);
  const Fd app = accepted(server);
  send(client.get(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  ASSERT_TRUE(rig.run_until([&] { return handed.size() == 1; }));
  EXPECT_EQ(handed[0].protocol, Protocol::http2);
  expect(app.get(), "<reset>");
}

TEST_F(PipelineTest, UsesTheEarlyDialForBytes) {
  const Fd client = outbound(server.address);
  const Fd app = accepted(server);
  send(client.get(), "*1\r\n$4\r\nPING\r\n");
  expect(app.get(), "*1\r\n$4\r\nPING\r\n");
  EXPECT_FALSE(server.accept());
}

TEST_F(PipelineTest, KeepsHalfClosesBothWays) {
  const Fd client = outbound(server.address);
  send(client.get(), "\x01question");
  ::shutdown(client.get(), SHUT_WR);
  const Fd app = accepted(server);
  expect(app.get(), "\x01question<end>");
  send(app.get(), "answer");
  expect(client.get(), "answer");
  ::shutdown(app.get(), SHUT_WR);
  expect(client.get(), "<end>");
  EXPECT_TRUE(idle());
}

TEST_F(PipelineTest, PassesResetsOnBothWays) {
  for (const bool by_client : {true, false}) {
    Fd client = outbound(server.address);
    send(client.get(), "\x01");
    Fd app = accepted(server);
    expect(app.get(), "\x01");
    Fd& resetter = by_client ? client : app;
    const Fd& other = by_client ? app : client;
    set_reset_on_close(resetter.get());
    resetter.reset();
    expect(other.get(), "<reset>");
    EXPECT_TRUE(idle());
  }
}

TEST_F(PipelineTest, TreatsSilenceAsBytesAfterTheTimeout) {
  const Fd client = outbound(server.address);
  const Fd app = accepted(server);
  rig.run_until([] { return false; }, std::chrono::milliseconds(400));
  EXPECT_EQ(rig.worker.connections->size(), 1u);
  send(client.get(), "GET / HTTP/1.1\r\n");  // too late to be looked at
  expect(app.get(), "GET / HTTP/1.1\r\n");
}

TEST_F(PipelineTest, ResetsTheClientWhenNobodyListens) {
  SocketAddress nobody = server.address;
  server.listener.reset();
  const Fd client = outbound(nobody);
  send(client.get(), "\x01");
  expect(client.get(), "<reset>");
  EXPECT_TRUE(idle());
}

TEST_F(PipelineTest, TriesOneOtherEndpoint) {
  test::Server dead;
  const SocketAddress vip = SocketAddress::parse("10.96.0.1:5432").value();
  auto service = std::make_shared<Destination>(3);
  service->state = Destination::State::service;
  service->opaque = true;
  service->balancer.update({{server.address, {}, {}, ProtocolHint::none, 0, {}},
                            {dead.address, {}, {}, ProtocolHint::none, 0, {}}});
  rig.directory->known[vip] = service;
  dead.listener.reset();
  std::vector<Fd> kept;
  for (int i = 0; i < 20; ++i) {
    kept.push_back(outbound(vip));
    kept.push_back(accepted(server));
  }
  EXPECT_EQ(rig.worker.connections->size(), 20u);
  for (const auto& endpoint : service->balancer.endpoints()) {
    EXPECT_EQ(endpoint->connections, endpoint->info.address == server.address ? 20u : 0u);
  }
  kept.clear();
  EXPECT_TRUE(idle());
  for (const auto& endpoint : service->balancer.endpoints()) EXPECT_EQ(endpoint->connections, 0u);
}

TEST_F(PipelineTest, RefusesWhatDiscoveryDoesNotKnow) {
  auto missing = std::make_shared<Destination>(1);
  missing->state = Destination::State::not_found;
  rig.directory->known[server.address] = missing;
  const Fd client = outbound(server.address);
  expect(client.get(), "<reset>");
  EXPECT_FALSE(server.accept());
}

TEST_F(PipelineTest, JoinsPodsOfThisNodeAndAuthorizesThem) {
  test::Server app_server(16, "127.0.0.5");
  rig.add_pod(2, "127.0.0.5", [](Pod& p) { p.policy = InboundPolicy::all_authenticated; });
  const Fd client = outbound(app_server.address);
  send(client.get(), "\x01hi");
  const Fd app = accepted(app_server);
  expect(app.get(), "\x01hi");
  // Nobody gets in where even meshed clients are denied.
  test::Server closed(16, "127.0.0.6");
  rig.add_pod(3, "127.0.0.6", [](Pod& p) { p.policy = InboundPolicy::deny; });
  const Fd other = outbound(closed.address);
  send(other.get(), "\x01");
  expect(other.get(), "<reset>");
  EXPECT_FALSE(closed.accept());
}

TEST_F(PipelineTest, WaitsForASocketWhileTheBrokerIsAwayAndThenFails) {
  rig.run_until([&] { return rig.dialer->reserved(1, false) > 0; });
  rig.broker_away = true;
  std::vector<Fd> kept;
  // The reserve serves some.
  const std::size_t reserve = rig.dialer->reserved(1, false);
  for (std::size_t i = 0; i < reserve; ++i) {
    kept.push_back(outbound(server.address));
    send(kept.back().get(), "\x01");
    kept.push_back(accepted(server));
  }
  const Fd waits = outbound(server.address);
  send(waits.get(), "\x01late");
  rig.run_until([] { return false; }, std::chrono::milliseconds(100));
  EXPECT_FALSE(server.accept());
  EXPECT_EQ(rig.dialer->waiting(), 1u);
  rig.broker_away = false;
  rig.dialer->agent_ready();
  const Fd app = accepted(server);
  expect(app.get(), "\x01late");
}

TEST_F(PipelineTest, InboundHoldsAGreetingBackForAMoment) {
  test::Server app_server(16, "127.0.0.5");
  const PodRef local = rig.add_pod(2, "127.0.0.5");
  const auto begin = Loop::Clock::now();
  const Fd client = inbound(local, app_server.address);
  const Fd app = accepted(app_server);
  send(app.get(), "greeting");
  expect(client.get(), "greeting");
  const auto took = Loop::Clock::now() - begin;
  EXPECT_GE(took, std::chrono::milliseconds(40));
  EXPECT_LT(took, std::chrono::milliseconds(250));
}

// The kernel drops a SYN that finds the queue full and the client's kernel sends it again a second later:
// without a proxy between them the client only waits.
TEST_F(PipelineTest, InboundWaitsForAnAppWhoseQueueIsFull) {
  rig.settings.inbound_connect_timeout = Settings().inbound_connect_timeout;
  const test::Server busy(0, "127.0.0.5");
  const PodRef local = rig.add_pod(2, "127.0.0.5");
  std::vector<Fd> queued;
  for (int i = 0; i < 3; ++i) {
    queued.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_storage to{};
    const socklen_t size = busy.address.to_sockaddr(to);
    ::connect(queued.back().get(), reinterpret_cast<sockaddr*>(&to), size);
  }
  const Fd client = inbound(local, busy.address);
  send(client.get(), "\x01 no HTTP");
  const auto began = Loop::Clock::now();
  ASSERT_TRUE(rig.run_until([&] {
    return !read_all(client.get()).empty() || Loop::Clock::now() - began > std::chrono::milliseconds(600);
  }));
  // Accepting makes room; the one that says what our client said is ours.
  std::vector<Fd> taken;
  std::string heard, answered;
  EXPECT_TRUE(rig.run_until([&] {
    if (Fd next = busy.accept()) taken.push_back(std::move(next));
    for (const Fd& each : taken) heard += read_all(each.get());
    answered += read_all(client.get());
    return heard.find("no HTTP") != std::string::npos || !answered.empty();
  })) << taken.size()
      << " accepted";
  EXPECT_EQ(answered, "");
  EXPECT_NE(heard.find("no HTTP"), std::string::npos) << heard;
}

TEST_F(PipelineTest, InboundGivesHttpToItsSeamEvenWhenDenied) {
  test::Server app_server(16, "127.0.0.5");
  const PodRef local =
      rig.add_pod(2, "127.0.0.5", [](Pod& p) { p.policy = InboundPolicy::all_authenticated; });
  const Fd client = inbound(local, app_server.address);
  send(client.get(), "GET / HTTP/1.1\r\n\r\n");
  ASSERT_TRUE(rig.run_until([&] { return handed.size() == 1; }));
  EXPECT_EQ(handed[0].seam, "inbound");
  const Fd bytes = inbound(local, app_server.address);
  send(bytes.get(), "\x01");
  expect(bytes.get(), "<reset>");
  EXPECT_FALSE(app_server.accept());
}

TEST_F(PipelineTest, InboundRefusesItsOwnListenersPorts) {
  const PodRef local = rig.add_pod(2, "127.0.0.5");
  for (const std::uint16_t port : {std::uint16_t{4140}, std::uint16_t{4143}}) {
    const Fd client = inbound(local, {local->ips[0], port});
    send(client.get(), "\x01");
    expect(client.get(), "<reset>");
  }
}

TEST_F(PipelineTest, ASlowReaderStopsItsSenderAndHoldsLittle) {
  const Fd client = outbound(server.address);
  send(client.get(), "\x01");
  const Fd app = accepted(server);
  expect(app.get(), "\x01");
  // The client never reads. What the kernel takes in goes on for as long as a busy machine needs: the sender
  // is stopped when it was refused many times in a row, and one that nobody stops fills more than all buffers
  // hold.
  const std::string block(1 << 20, 'x');
  const std::size_t too_much = 64u << 20;
  std::size_t sent = 0;
  int refused = 0;
  ASSERT_TRUE(rig.run_until(
      [&] {
        const ssize_t n = ::send(app.get(), block.data(), block.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        refused = n > 0 ? 0 : refused + 1;
        if (n > 0) sent += static_cast<std::size_t>(n);
        return refused == 200 || sent > too_much;
      },
      std::chrono::seconds(30)));
  EXPECT_LE(sent, too_much) << "the sender was not stopped";
  EXPECT_LE(pod->load->buffered_bytes.load(), 64u * 1024);
  EXPECT_GT(pod->load->buffered_bytes.load(), 0u);
  // All of it arrives when the client reads on.
  std::size_t got = 0;
  ASSERT_TRUE(rig.run_until([&] { return (got += read_all(client.get()).size()) == sent; }))
      << got << " of " << sent;
  EXPECT_EQ(pod->load->buffered_bytes.load(), 0u);
}

TEST_F(PipelineTest, HalfClosedAndIdleConnectionsEnd) {
  Settings settings = quick();
  settings.half_closed_timeout = std::chrono::milliseconds(50);
  test::Rig other(settings);
  const PodRef its_pod = other.add_pod(1, "127.0.0.9");
  test::TcpPair pair;
  ASSERT_EQ(::send(pair.client.get(), "\x01", 1, 0), 1);
  ::shutdown(pair.client.get(), SHUT_WR);
  serve_outbound(other.worker, its_pod, {}, server.address,
                 make_tcp_stream(other.worker.loop, std::move(pair.server)));
  EXPECT_TRUE(other.run_until([&] { return other.worker.connections->size() == 1; }));
  EXPECT_TRUE(other.run_until([&] { return other.worker.connections->size() == 0; }));
}

TEST_F(PipelineTest, RefusesConnectionsBeyondThePodsLimit) {
  test::Rig other(quick());
  const PodRef its_pod = other.add_pod(1, "127.0.0.9");
  its_pod->load->limits.connections = 2;
  std::vector<Fd> clients;
  for (int i = 0; i < 3; ++i) {
    test::TcpPair pair;
    serve_outbound(other.worker, its_pod, {}, server.address,
                   make_tcp_stream(other.worker.loop, std::move(pair.server)));
    clients.push_back(std::move(pair.client));
  }
  EXPECT_EQ(other.worker.connections->size(), 2u);
  EXPECT_EQ(read_all(clients[2].get()), "<reset>");
  EXPECT_EQ(its_pod->load->limited[static_cast<std::size_t>(Limit::connections)], 1u);
  other.worker.connections->abort_all(1);
  EXPECT_EQ(other.worker.connections->size(), 0u);
  EXPECT_EQ(its_pod->load->connections.load(), 0u);
  EXPECT_TRUE(other.run_until([&] { return read_all(clients[0].get()) == "<reset>"; }));
}

}  // namespace
}  // namespace heddle::proxy
