// SPDX-License-Identifier: Apache-2.0
#include <thread>

#include "proxy/http/forward.h"
#include "proxy/http/h1_client.h"
#include "proxy/http/h1_format.h"
#include "proxy/http/h2_client.h"
#include "tests/unit/http/raw_peer.h"

namespace heddle::proxy::http {
namespace {

TEST_F(RawPeer, ATunnelWhoseRequestWasItsLastWordEnds) {
  // ":method: CONNECT" and ":authority: a", with END_STREAM.
  peer_->say(frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 1,
                   "\x42\x07"
                   "CONNECT\x41\x01"
                   "a"));
  ASSERT_TRUE(loop_.until([&] { return tunnel_ != nullptr; }));
  std::array<std::byte, 8> buffer;
  EXPECT_EQ(tunnel_->read(buffer).status, IoStatus::eof);
}

// However long that takes: on a machine that has much to do, or far away, what it asked for before is under
// way.
TEST_F(RawPeer, GetsTheLastWordOfAShutdownOnlyWhenItHasReadTheNotice) {
  peer_->say(get(1));
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  server_->drain();
  ASSERT_TRUE(loop_.until([&] { return heard(NGHTTP2_PING) == 1; }));
  EXPECT_EQ(heard(NGHTTP2_GOAWAY), 1) << "the notice comes before the PING";
  EXPECT_FALSE(loop_.until([&] { return heard(NGHTTP2_GOAWAY) == 2; }, std::chrono::milliseconds(1200)));
  answerer_.answer(200, "first");
  peer_->say(get(3));
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 2; }));
  answerer_.answer(200, "second");
  peer_->say(frame(NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "last one"));
  ASSERT_TRUE(loop_.until([&] { return heard(NGHTTP2_GOAWAY) == 2; }, std::chrono::milliseconds(1500)));
  EXPECT_EQ(goaway(), NGHTTP2_NO_ERROR);
  EXPECT_TRUE(loop_.until([&] { return peer_->ended; }));
}

class Pinged : public RawPeer {
 protected:
  static H2Settings settings() {
    H2Settings out = mesh_settings();
    out.ping_interval = std::chrono::milliseconds(50);
    out.ping_timeout = std::chrono::milliseconds(300);
    return out;
  }
  Pinged() : RawPeer(settings()) {}
};

TEST_F(Pinged, IsDeadWhenItDoesNotAnswer) {
  EXPECT_TRUE(loop_.until([&] { return owner_.closed == 1; }));
  EXPECT_EQ(heard(NGHTTP2_PING), 1);
}

TEST_F(Pinged, LivesWhenEverybodyStoodStillForLongerThanAnAnswerMayTake) {
  ASSERT_TRUE(loop_.until([&] { return heard(NGHTTP2_PING) == 1; }));
  // The standstill itself: nothing is waited for.
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  peer_->say(frame(NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, std::string_view("\0\0\0\0\0\0\0\0", 8)));
  EXPECT_TRUE(loop_.until([&] { return heard(NGHTTP2_PING) == 2 || owner_.closed != 0; }));
  EXPECT_EQ(owner_.closed, 0) << "it would cut every stream between two nodes";
  EXPECT_FALSE(peer_->ended);
}

TEST_F(RawPeer, IsNotReadFromWhileItReadsNothing) {
  peer_->deaf = true;
  answerer_.on_start = [&] { answerer_.answer(200, std::string(500, 'x')); };
  // Each stream is answered and over at once: only what the peer does not read can pile up.
  std::uint32_t stream = 1;
  for (int i = 0; i < 400; ++i) {
    std::string many;
    for (int j = 0; j < 100; ++j, stream += 2) many += get(stream);
    peer_->say(many);
    loop_.settle();
    if (answerer_.started < static_cast<int>(stream / 2)) break;
  }
  EXPECT_LT(answerer_.started, 10'000) << "answers without end pile up for a peer that reads none";
  const int before = answerer_.started;
  peer_->deaf = false;
  peer_->on_readable();
  EXPECT_TRUE(loop_.until([&] { return answerer_.started > before; })) << "it must be served again";
}

TEST_F(RawPeer, FloodsOfPingEndTheConnection) {
  peer_->deaf = true;
  std::string pings;
  for (int i = 0; i < 1000; ++i) pings += frame(NGHTTP2_PING, 0, 0, "12345678");
  peer_->say(pings);
  EXPECT_TRUE(loop_.until([&] { return owner_.closed == 1; }));
}

TEST_F(RawPeer, FloodsOfSettingsEndTheConnection) {
  peer_->deaf = true;
  std::string settings;
  for (int i = 0; i < 1000; ++i) settings += empty_settings;
  peer_->say(settings);
  EXPECT_TRUE(loop_.until([&] { return owner_.closed == 1; }));
}

TEST_F(RawPeer, FloodsOfResetsEndTheConnection) {
  open_and_reset(60'000);
  EXPECT_TRUE(loop_.until([&] { return peer_->ended || peer_->error != 0; }));
  EXPECT_LT(answerer_.started, 50'000);
}

// An app's client, where far fewer are honest.
class RawClient : public RawPeer {
 protected:
  RawClient() : RawPeer(H2Settings()) {}
};

TEST_F(RawClient, FloodsOfResetsEndTheConnectionEarly) {
  open_and_reset(5000);
  EXPECT_TRUE(loop_.until([&] { return peer_->ended || peer_->error != 0; }));
  EXPECT_LT(answerer_.started, 4000);
}

TEST_F(RawPeer, GetsAnAnswerWhoseHeadIsAsLargeAsAnyMayBe) {
  answerer_.on_start = [&] {
    ResponseHead head;
    head.status = 200;
    for (int i = 0; i < 255; ++i) head.fields.add("x-" + std::to_string(i), std::string(250, 'v'));
    EXPECT_LE(head.fields.text_size(), max_head_bytes);
    answerer_.finish([&](ResponsePeer& to) { to.respond(head, true); });
  };
  peer_->say(get(1));
  ASSERT_TRUE(loop_.until([&] { return peer_->heard.size() > 30'000; })) << peer_->heard.size();
}

// A field that the decoder need not remember.
std::string literal(std::string_view name, std::string_view value) {
  std::string out(1, '\0');
  out.append(1, static_cast<char>(name.size())).append(name);
  return out.append(1, static_cast<char>(value.size())).append(value);
}

// "name: value" lines of the only head in what was heard.
std::string decode_head(std::string_view heard) {
  nghttp2_hd_inflater* inflater = nullptr;
  nghttp2_hd_inflate_new(&inflater);
  std::string lines;
  while (heard.size() >= 9) {
    const auto at = [&](std::size_t i) { return static_cast<unsigned char>(heard[i]); };
    const auto size = static_cast<std::size_t>(at(0) << 16 | at(1) << 8 | at(2));
    std::string block(at(3) == NGHTTP2_HEADERS ? heard.substr(9, size) : "");
    auto* rest = reinterpret_cast<std::uint8_t*>(block.data());
    std::size_t left = block.size();
    while (left > 0) {
      nghttp2_nv field{};
      int flags = 0;
      const ssize_t used = nghttp2_hd_inflate_hd2(inflater, &field, &flags, rest, left, 1);
      if (used < 0) break;
      rest += used;
      left -= static_cast<std::size_t>(used);
      if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0)
        lines.append(reinterpret_cast<char*>(field.name), field.namelen)
            .append(": ")
            .append(reinterpret_cast<char*>(field.value), field.valuelen)
            .append("\n");
    }
    heard.remove_prefix(std::min(9 + size, heard.size()));
  }
  nghttp2_hd_inflate_del(inflater);
  return lines;
}

// What a request of authority "a" with these fields is answered.
class Answered : public RawClient {
 protected:
  std::string answer_to(std::string fields) {
    fields.insert(0,
                  "\x82\x86\x84\x41\x01"
                  "a");
    constexpr std::size_t most = 16'000;
    std::string sent = frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM, 1, fields.substr(0, most));
    for (std::size_t at = most; at < fields.size(); at += most)
      sent += frame(NGHTTP2_CONTINUATION, 0, 1, std::string_view(fields).substr(at, most));
    peer_->say(sent + frame(NGHTTP2_CONTINUATION, NGHTTP2_FLAG_END_HEADERS, 1, ""));
    EXPECT_TRUE(loop_.until([&] { return !decode_head(peer_->heard).empty(); }));
    return decode_head(peer_->heard);
  }
  const std::string grpc_ = literal("content-type", "application/grpc+proto");
  const std::string two_hosts_ = literal("host", "b");
};

TEST_F(Answered, MalformedRequestsOfGrpcGetTrailersOnly) {
  EXPECT_EQ(answer_to(grpc_ + two_hosts_),
            ":status: 200\ncontent-type: application/grpc\ngrpc-status: 13\n"
            "grpc-message: :authority and host differ\nl5d-proxy-error: :authority and host differ\n");
  EXPECT_EQ(refused(Refusal::malformed), 1u);
}

TEST_F(Answered, MalformedRequestsOfOthersGetAStatus) {
  EXPECT_EQ(answer_to(two_hosts_), ":status: 400\nl5d-proxy-error: :authority and host differ\n");
}

TEST_F(Answered, HeadsOfGrpcThatAreTooLargeExhaustAResource) {
  std::string many = grpc_;
  for (std::size_t i = 0; i < max_fields; ++i) many += literal("x", "y");
  EXPECT_EQ(answer_to(many),
            ":status: 200\ncontent-type: application/grpc\ngrpc-status: 8\n"
            "grpc-message: head larger than 64 KiB\nl5d-proxy-error: head larger than 64 KiB\n");
  EXPECT_EQ(refused(Refusal::too_large), 1u);
}

struct Pool final : H2ClientOwner, H1ClientOwner {
  void client_available(H2Client&) override {}
  void client_closed(H2Client&) override {}
  void client_idle(H1Client&) override {}
  void client_closed(H1Client&) override {}
};

// A client over HTTP/2 and what is at the other end of its connection.
struct ClientOfTalker {
  // Asks; then the server's SETTINGS come.
  void ask(std::string_view request, bool end) {
    RequestHead head;
    ASSERT_TRUE(parse_request_head(request, head));
    ASSERT_TRUE(settle(head));
    strip_hop_by_hop(head.fields);
    asker.peer = client.start(head, end, asker);
    loop.settle();
    server.say(empty_settings);
  }

  TestLoop loop;
  Pool pool;
  std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>> pipe = make_pipe(loop.loop);
  Talker server{std::move(pipe.second)};
  H2Client client{loop.engine, std::move(pipe.first), pool, H2Settings{}, false};
  Asker asker;
};

TEST(H2ClientStreams, DoNotOutliveAnAnswerThatCameBeforeTheRequestsEnd) {
  ClientOfTalker each;
  each.ask("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false);
  // ":status: 200" with END_STREAM, and never a RST_STREAM.
  each.server.say(frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 1, "\x88"));
  ASSERT_TRUE(each.loop.until([&] { return each.asker.over; }));
  EXPECT_EQ(each.asker.status, 200);
  EXPECT_TRUE(each.loop.until([&] { return each.client.streams() == 0; }))
      << "the stream stays open for ever";
}

// What a GET is answered over HTTP/2 with that status, length, and no content: "STATUS LENGTH", or "refused".
std::string bare_answer(const std::string& status, const std::string& length) {
  ClientOfTalker each;
  each.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true);
  each.server.say(frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 1,
                        literal(":status", status) + literal("content-length", length)));
  EXPECT_TRUE(each.loop.until([&] { return each.asker.over; }));
  if (each.asker.aborted) return "refused";
  return std::to_string(each.asker.status) + " " +
         std::string(each.asker.fields.find("content-length").value_or("without"));
}

// RFC 9110 8.6 and RFC 9113 8.1.1: 304 may tell the length of what it stands for, 204 has none, any other
// must have the content that it tells of.
TEST(AnswersWithoutContent, HaveALengthOnlyWhereItSaysSomething) {
  EXPECT_EQ(bare_answer("304", "5"), "304 5");
  EXPECT_EQ(bare_answer("204", "0"), "204 without");
  EXPECT_EQ(bare_answer("204", "5"), "refused");
  EXPECT_EQ(bare_answer("205", "0"), "205 0");
  EXPECT_EQ(bare_answer("205", "5"), "refused");
  EXPECT_EQ(bare_answer("200", "5"), "refused");
}

// A server's answer to GET, and how it ends.
class SlowServer : public ::testing::Test {
 protected:
  SlowServer() {
    auto [ours, theirs] = make_pipe(loop_.loop);
    server_ = std::make_unique<Talker>(std::move(theirs));
    client_ = std::make_unique<H1Client>(loop_.engine, std::move(ours), pool_);
    asker_.peer = client_->start(request("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), true, asker_);
    loop_.settle();
  }
  // Longer than a head may take.
  void wait() {
    bool over = false;
    Timer timer(loop_.loop, [&] { over = true; });
    timer.arm(std::chrono::milliseconds(150));
    EXPECT_TRUE(loop_.until([&] { return over; }));
  }
  TestLoop loop_{{std::chrono::milliseconds(50), std::chrono::milliseconds(0), std::chrono::milliseconds(5)}};
  Pool pool_;
  Asker asker_;
  std::unique_ptr<Talker> server_;
  std::unique_ptr<H1Client> client_;
};

TEST_F(SlowServer, MayThinkForAsLongAsItLikes) {
  wait();
  EXPECT_FALSE(asker_.over);
  server_->say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh");
  ASSERT_TRUE(loop_.until([&] { return asker_.status == 200; }));
  wait();
  EXPECT_FALSE(asker_.over) << "content has no deadline either";
  server_->say("i");
  EXPECT_TRUE(loop_.until([&] { return asker_.over; }));
  EXPECT_FALSE(asker_.aborted);
}

TEST_F(SlowServer, MayNotBeginAHeadAndNeverEndIt) {
  server_->say("HTTP/1.1 200 OK\r\n");
  Timer more(loop_.loop, [&] {
    server_->say("X: y\r\n");
    more.arm(std::chrono::milliseconds(5));
  });
  more.arm(std::chrono::milliseconds(5));
  ASSERT_TRUE(loop_.until([&] { return asker_.over; }));
  EXPECT_EQ(asker_.aborted, Abort::timeout);
}

TEST_F(SlowServer, IsNotWaitedForWhenItsLinesEndWithLfAlone) {
  server_->say("HTTP/1.1 200 OK\nContent-Length: 2\n\nhi");
  ASSERT_TRUE(loop_.until([&] { return asker_.over; }));
  EXPECT_EQ(asker_.aborted, Abort::protocol);
}

// A forward that has one client.
class OneWay final : public Forward {
 public:
  OneWay(Engine& engine, Client& client) : Forward(engine, {}), client_(client) {}

 private:
  void route(unsigned) override { use(client_); }
  bool retryable(unsigned) override { return false; }
  void on_respond(ResponseHead&) override {}
  void on_over(std::uint16_t, std::string_view) override {}
  void on_trailers(const Fields&) override {}
  void client_ready(Client&) override {}
  void client_failed(const Error&) override {}
  Client& client_;
};

TEST(Forwarding, PassesOnOnlySoManyInterimAnswers) {
  TestLoop loop;
  auto [ours, theirs] = make_pipe(loop.loop);
  Talker server(std::move(theirs));
  Pool pool;
  H1Client client(loop.engine, std::move(ours), pool);
  RequestHead head;
  ASSERT_TRUE(parse_request_head("GET / HTTP/1.1\r\nHost: a\r\n\r\n", head));
  ASSERT_TRUE(settle(head));
  Asker asker;
  auto* forward = new OneWay(loop.engine, client);  // owns itself
  asker.peer = forward->begin(head, true, asker);
  for (int i = 0; i < 1000; ++i) server.say("HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n");
  server.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  ASSERT_TRUE(loop.until([&] { return asker.over; }));
  EXPECT_EQ(asker.status, 200);
  EXPECT_EQ(asker.informed.size(), 32u);
}

TEST(H1ServerPipelines, AnswersAllThatCameBeforeTheClientsEnd) {
  TestLoop loop;
  auto [ours, theirs] = make_pipe(loop.loop);
  Talker client(std::move(theirs));
  Answerer answerer;
  Owner owner;
  auto server = make_h1_server(loop.engine, std::move(ours), answerer, owner);
  client.say(
      "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: "
      "a\r\n\r\n");
  client.stream->finish_writes();
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(loop.until([&] { return answerer.started == i; })) << i;
    loop.settle();
    answerer.answer(200, "r" + std::to_string(i));
  }
  ASSERT_TRUE(loop.until([&] { return client.ended; }));
  for (const char* each : {"r1", "r2", "r3"}) EXPECT_NE(client.heard.find(each), std::string::npos) << each;
  EXPECT_TRUE(loop.until([&] { return owner.closed == 1; }));
}

TEST(ResponseHead, LosesALengthThatSaysNothing) {
  for (const char* text : {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
                           "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n"}) {
    ResponseHead head;
    ASSERT_TRUE(parse_response_head(text, head));
    ASSERT_TRUE(settle(head, false, false));
    EXPECT_FALSE(head.fields.find(Name::content_length)) << text;
  }
  ResponseHead head;
  ASSERT_TRUE(parse_response_head("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", head));
  ASSERT_TRUE(settle(head, false, false));
  EXPECT_TRUE(head.fields.find(Name::content_length));
}

}  // namespace
}  // namespace heddle::proxy::http
