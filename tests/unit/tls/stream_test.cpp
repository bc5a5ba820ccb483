// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/tls/pair.h"

namespace heddle::proxy::tls {
namespace {

using namespace std::chrono_literals;
using TlsStreams = TlsPair;

std::string pattern(std::size_t size) {
  std::string text(size, ' ');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>((i * 131 + (i >> 8)) & 0xff);
  return text;
}

TEST_F(TlsStreams, CarryBytesBothWays) {
  shake();
  take_streams();
  Sink at_server(*server_stream);
  Sink at_client(*client_stream);
  EXPECT_EQ(write_text(*client_stream, "hello").size, 5u);
  EXPECT_EQ(write_text(*server_stream, "world").size, 5u);
  EXPECT_TRUE(loop.until([&] { return at_server.text == "hello" && at_client.text == "world"; }));
}

TEST_F(TlsStreams, TellOfBytesThatCameWithTheHandshake) {
  // An owner that only waits for events, from the moment it gets the stream.
  struct Waiting : StreamEvents {
    void on_readable() override { ++told; }
    void on_writable() override {}
    int told = 0;
  } waiting;
  auto [a, b] = sockets();
  client->handshake = client->endpoint->connect(make_tcp_stream(loop.loop, std::move(a)), client->pod, web,
                                                web, {}, 5s, [&](Result<Established> r) {
                                                  ASSERT_TRUE(r);
                                                  write_text(*r->stream, "early");
                                                  client->result = std::move(r);
                                                });
  server->handshake = server->endpoint->accept(make_tcp_stream(loop.loop, std::move(b)), server->pod,
                                               IpAddress{}, both_protocols, 5s, [&](Result<Established> r) {
                                                 ASSERT_TRUE(r);
                                                 r->stream->set_events(&waiting);
                                                 server->result = std::move(r);
                                               });
  ASSERT_TRUE(loop.until([&] { return server->result && waiting.told > 0; }));
  std::array<std::byte, 64> buffer;
  EXPECT_EQ((*server->result)->stream->read(buffer).size, 5u);
}

TEST_F(TlsStreams, CarryMegabytesThroughASlowReaderWithoutBuffering) {
  shake();
  take_streams();
  const std::string data = pattern(8 * 1024 * 1024);
  std::size_t sent = 0;
  Sink at_client(*client_stream);
  std::size_t most_buffered = 0;
  at_client.more = [&] {
    while (sent < data.size()) {
      const auto wrote = write_text(*client_stream, std::string_view(data).substr(sent));
      most_buffered = std::max(most_buffered, client_stream->buffered());
      if (wrote.status != IoStatus::ok) {
        ASSERT_EQ(wrote.status, IoStatus::would_block);
        return;
      }
      sent += wrote.size;
    }
    client_stream->finish_writes();
  };
  at_client.more();
  EXPECT_LT(sent, data.size());
  EXPECT_LT(most_buffered, 200'000u);
  Sink at_server(*server_stream);
  ASSERT_TRUE(loop.until([&] { return at_server.last == IoStatus::eof; }, 20s)) << at_server.text.size();
  EXPECT_TRUE(at_server.text == data);
  EXPECT_EQ(client_stream->buffered(), 0u);
}

TEST_F(TlsStreams, PutTheSmallPiecesOfAWriteIntoOneRecord) {
  shake();
  take_streams();
  // What is on the wire: a record of n bytes costs 22 more (5 header, 1 type, 16 tag).
  std::vector<iovec> pieces;
  std::string text = pattern(900);
  for (std::size_t i = 0; i < 100; ++i) pieces.push_back({text.data() + i * 9, 9});
  EXPECT_EQ(client_stream->write(pieces).size, 900u);
  std::array<char, 4096> raw;
  const auto size = ::recv(server_stream->descriptor(), raw.data(), raw.size(), MSG_PEEK);
  EXPECT_EQ(size, 922);
}

TEST_F(TlsStreams, HalfCloseLeavesTheOtherDirectionOpen) {
  shake();
  take_streams();
  Sink at_server(*server_stream);
  Sink at_client(*client_stream);
  write_text(*client_stream, "request");
  client_stream->finish_writes();
  ASSERT_TRUE(loop.until([&] { return at_server.last == IoStatus::eof; }));
  EXPECT_EQ(at_server.text, "request");
  write_text(*server_stream, "response");
  ASSERT_TRUE(loop.until([&] { return at_client.text == "response"; }));
  EXPECT_EQ(at_client.last, IoStatus::would_block);
  server_stream->finish_writes();
  ASSERT_TRUE(loop.until([&] { return at_client.last == IoStatus::eof; }));
  EXPECT_EQ(write_text(*client_stream, "late").status, IoStatus::error);
}

TEST_F(TlsStreams, SendEverythingBeforeTheEndAlthoughDestroyedAtOnce) {
  shake();
  take_streams();
  const std::string data = pattern(60'000);
  Sink at_client(*client_stream);
  {
    Sink at_server(*server_stream);
    client_stream->finish_writes();
    ASSERT_TRUE(loop.until([&] { return at_server.last == IoStatus::eof; }));
    ASSERT_EQ(write_text(*server_stream, data).size, data.size());
    server_stream->finish_writes();
  }
  server_stream.reset();
  ASSERT_TRUE(loop.until([&] { return at_client.last != IoStatus::would_block; }));
  EXPECT_EQ(at_client.last, IoStatus::eof) << "error " << at_client.error;
  EXPECT_TRUE(at_client.text == data);
  client_stream.reset();
  EXPECT_TRUE(loop.until([&] { return server->worker->lingering->size() == 0; }));
}

TEST_F(TlsStreams, SayThatAnEndWithoutCloseNotifyIsATruncation) {
  shake();
  take_streams();
  Sink at_server(*server_stream);
  write_text(*client_stream, "half of it");
  ASSERT_TRUE(loop.until([&] { return !at_server.text.empty(); }));
  ::shutdown(client_stream->descriptor(), SHUT_WR);
  ASSERT_TRUE(loop.until([&] { return at_server.last == IoStatus::error; }));
  EXPECT_EQ(at_server.error, ECONNRESET);
}

TEST_F(TlsStreams, SayThatTamperedBytesAreAnError) {
  shake();
  take_streams();
  Sink at_server(*server_stream);
  const unsigned char record[] = {23, 3,  3,  0,  32, 1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14,
                                  15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32};
  ASSERT_GT(::send(client_stream->descriptor(), record, sizeof record, 0), 0);
  ASSERT_TRUE(loop.until([&] { return at_server.last == IoStatus::error; }));
  EXPECT_EQ(at_server.error, EPROTO);
  EXPECT_EQ(at_server.text, "");
}

TEST_F(TlsStreams, ResetTheConnectionWhenDestroyedInTheMiddle) {
  shake();
  take_streams();
  Sink at_server(*server_stream);
  write_text(*client_stream, "half of it");
  client_stream.reset();
  ASSERT_TRUE(loop.until([&] { return at_server.last == IoStatus::error; }));
  EXPECT_EQ(at_server.error, ECONNRESET);
}

TEST_F(TlsStreams, GoOnWithTheOldCertificateWhenItIsReplaced) {
  shake();
  take_streams();
  auto renewed = issue(authority, web, anchors);
  server->worker->contexts[web] = renewed;
  Sink at_server(*server_stream);
  write_text(*client_stream, "still here");
  EXPECT_TRUE(loop.until([&] { return at_server.text == "still here"; }));
  client->result.reset();
  server->result.reset();
  shake();
  EXPECT_TRUE(*client->result) << client->result->error().message();
}

TEST_F(TlsStreams, SurviveTheDestructionOfTheStreamInsideItsCallback) {
  shake();
  take_streams();
  struct Deleting : StreamEvents {
    std::unique_ptr<Stream>& victim;
    explicit Deleting(std::unique_ptr<Stream>& v) : victim(v) {}
    void on_readable() override { victim.reset(); }
    void on_writable() override {}
  } deleting(server_stream);
  std::array<std::byte, 16> buffer;
  ASSERT_EQ(server_stream->read(buffer).status, IoStatus::would_block);
  server_stream->set_events(&deleting);
  write_text(*client_stream, "x");
  EXPECT_TRUE(loop.until([&] { return server_stream == nullptr; }));
}

}  // namespace
}  // namespace heddle::proxy::tls
