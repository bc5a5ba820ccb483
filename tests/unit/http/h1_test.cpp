// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/h1_client.h"
#include "proxy/http/h1_server.h"
#include "tests/unit/http/in_memory.h"

namespace heddle::proxy::http {

RequestHead request(std::string_view text) {
  RequestHead head;
  EXPECT_TRUE(parse_request_head(text, head));
  EXPECT_TRUE(settle(head));
  strip_hop_by_hop(head.fields);
  return head;
}

namespace {

class H1ServerTest : public ::testing::Test {
 protected:
  H1ServerTest() {
    auto [ours, theirs] = make_pipe(loop_.loop);
    client_ = std::make_unique<Talker>(std::move(theirs));
    server_ = make_h1_server(loop_.engine, std::move(ours), answerer_, owner_);
  }
  TestLoop loop_;
  Answerer answerer_;
  Owner owner_;
  std::unique_ptr<Talker> client_;
  std::unique_ptr<ServerCodec> server_;
};

TEST_F(H1ServerTest, AnswersARequestAndKeepsTheConnection) {
  answerer_.on_start = [&] { answerer_.answer(200, "hi"); };
  client_->say("GET /a HTTP/1.1\r\nHost: web\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return client_->heard.ends_with("hi"); })) << client_->heard;
  EXPECT_EQ(client_->heard, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
  client_->say("GET /b HTTP/1.1\r\nHost: web\r\n\r\n");
  EXPECT_TRUE(loop_.until([&] { return answerer_.started == 2; }));
  EXPECT_EQ(answerer_.target, "/b");
}

TEST_F(H1ServerTest, ReadsARequestThatComesByteByByte) {
  const std::string text =
      "POST /p HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nt: 1\r\n\r\n";
  for (const char c : text) {
    client_->say({&c, 1});
    loop_.settle();
  }
  EXPECT_EQ(answerer_.content, "abc");
  EXPECT_TRUE(answerer_.ended);
  EXPECT_EQ(answerer_.trailing.find("t"), "1");
}

TEST_F(H1ServerTest, ServesPipelinedRequestsInOrder) {
  client_->say(
      "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /3 "
      "HTTP/1.1\r\nHost: a\r\n\r\n");
  for (int i = 1; i <= 3; ++i) {
    ASSERT_TRUE(loop_.until([&] { return answerer_.started == i && answerer_.ended; })) << i;
    loop_.settle();
    EXPECT_EQ(answerer_.started, i) << "the next one must wait";
    EXPECT_EQ(answerer_.target, "/" + std::to_string(i));
    answerer_.answer(200, "r" + std::to_string(i));
  }
  ASSERT_TRUE(loop_.until([&] { return client_->heard.ends_with("r3"); })) << client_->heard;
  EXPECT_LT(client_->heard.find("r1"), client_->heard.find("r2"));
}

TEST_F(H1ServerTest, ClosesAfterConnectionClose) {
  answerer_.on_start = [&] { answerer_.answer(200, "x"); };
  client_->say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return client_->ended; }));
  EXPECT_NE(client_->heard.find("connection: close"), std::string::npos);
  EXPECT_TRUE(loop_.until([&] { return owner_.closed == 1; })) << "the client has nothing more to say";
}

TEST_F(H1ServerTest, ClosesAfterTheEndOfAClientThatDidNotAskForIt) {
  answerer_.on_start = [&] { answerer_.answer(200, "x"); };
  client_->say("GET / HTTP/1.0\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return client_->ended; }));
  EXPECT_EQ(owner_.closed, 0) << "must wait for the client's end, or a reset may overtake the response";
  client_->stream->finish_writes();
  EXPECT_TRUE(loop_.until([&] { return owner_.closed == 1; }));
}

TEST_F(H1ServerTest, KeepsAnHttp10ConnectionOnlyWhenAsked) {
  answerer_.on_start = [&] { answerer_.answer(200, "x"); };
  client_->say("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return client_->heard.ends_with("x"); }));
  EXPECT_TRUE(client_->heard.starts_with("HTTP/1.0 200 OK\r\n")) << client_->heard;
  EXPECT_NE(client_->heard.find("connection: keep-alive"), std::string::npos);
  client_->say("GET / HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(loop_.until([&] { return client_->ended; }));
}

TEST_F(H1ServerTest, ChunksAResponseOfUnknownLengthWithTrailers) {
  client_->say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  ResponseHead head;
  head.status = 200;
  head.content = Content::streamed;
  answerer_.requester->respond(head, false);
  answerer_.requester->data(bytes_of("hello"), false);
  Fields trailers;
  trailers.add("x-sum", "5");
  answerer_.finish([&](ResponsePeer& to) { to.trailers(std::move(trailers)); });
  ASSERT_TRUE(loop_.until([&] { return client_->heard.ends_with("\r\n\r\n"); }));
  EXPECT_EQ(client_->heard,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n");
}

TEST_F(H1ServerTest, SendsNoContentForHeadAnd304) {
  answerer_.on_start = [&] {
    ResponseHead head;
    head.status = answerer_.method == "HEAD" ? 200 : 304;
    head.fields.add("content-length", "5");
    answerer_.finish([&](ResponsePeer& to) { to.respond(head, true); });
  };
  client_->say("HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return client_->heard.find("304") != std::string::npos; }));
  loop_.settle();
  EXPECT_EQ(
      client_->heard,
      "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nHTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n");
}

TEST_F(H1ServerTest, RefusesSmugglingWith400AndCloses) {
  client_->say(
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET "
      "/evil HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return client_->ended; }));
  EXPECT_TRUE(client_->heard.starts_with("HTTP/1.1 400 ")) << client_->heard;
  EXPECT_EQ(answerer_.started, 0);
}

TEST_F(H1ServerTest, Answers431ToAnEndlessHead) {
  client_->say("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(100'000, 'a'));
  ASSERT_TRUE(loop_.until([&] { return client_->ended; }));
  EXPECT_TRUE(client_->heard.starts_with("HTTP/1.1 431 ")) << client_->heard.substr(0, 50);
}

TEST_F(H1ServerTest, AbortsTheUpstreamWhenTheClientResets) {
  client_->say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  client_->stream->reset();
  EXPECT_TRUE(loop_.until([&] { return answerer_.aborted && owner_.closed == 1; }));
}

TEST_F(H1ServerTest, AnswersAClientThatClosedItsSendingHalf) {
  client_->say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  client_->stream->finish_writes();
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  loop_.settle();
  ASSERT_FALSE(answerer_.aborted);
  answerer_.answer(200, "late");
  EXPECT_TRUE(loop_.until([&] { return client_->ended && owner_.closed == 1; }));
  EXPECT_TRUE(client_->heard.ends_with("late"));
}

TEST_F(H1ServerTest, ResetsInsteadOfEndingACutResponse) {
  client_->say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  ResponseHead head;
  head.status = 200;
  answerer_.requester->respond(head, false);
  answerer_.requester->data(bytes_of("part"), false);
  loop_.settle();
  answerer_.finish([](ResponsePeer& to) { to.abort(Abort::connection); });
  EXPECT_TRUE(loop_.until([&] { return client_->error != 0; }));
}

TEST_F(H1ServerTest, NeverHoldsMoreThanTheWindowForAReceiverThatDoesNotConsume) {
  answerer_.consume = false;
  client_->say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n" +
               std::string(10'000'000, 'b'));
  loop_.settle();
  EXPECT_EQ(answerer_.unconsumed, window);  // Answerer checks that it is never more
  answerer_.consume = true;
  const std::size_t had = std::exchange(answerer_.unconsumed, 0);
  answerer_.requester->consumed(had);
  EXPECT_TRUE(loop_.until([&] { return answerer_.ended; }));
  EXPECT_EQ(answerer_.content.size(), 10'000'000u);
}

TEST_F(H1ServerTest, GivesCreditOnlyForWhatASlowClientRead) {
  client_->deaf = true;
  client_->say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  ResponseHead head;
  head.status = 200;
  answerer_.requester->respond(head, false);
  const std::string block(32 * 1024, 'c');
  std::size_t pushed = 0;
  // A pusher that keeps to the window.
  while (pushed - answerer_.credit + block.size() <= window && pushed < 10'000'000) {
    answerer_.requester->data(bytes_of(block), false);
    pushed += block.size();
    loop_.settle();
  }
  EXPECT_LE(pushed, 64 * 1024 + window + 1024) << "the pipe's buffer and one window";
  client_->deaf = false;
  client_->on_readable();
  EXPECT_TRUE(loop_.until([&] { return answerer_.credit == pushed; }));
}

TEST_F(H1ServerTest, ReadsOnAfterAnEarlyAnswer) {
  answerer_.on_start = [&] { answerer_.answer(200, "early"); };
  client_->say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return client_->heard.ends_with("early"); }));
  client_->say("12345GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(loop_.until([&] { return answerer_.started == 2; }));
  EXPECT_EQ(answerer_.target, "/next");
}

TEST_F(H1ServerTest, ClosesWhenAnExpectingClientWasRefusedBeforeItsContent) {
  answerer_.on_start = [&] { answerer_.answer(417, "no"); };
  client_->say("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  EXPECT_TRUE(loop_.until([&] { return client_->ended; }));
  EXPECT_NE(client_->heard.find("connection: close"), std::string::npos);
}

TEST_F(H1ServerTest, DrainsByClosingAfterTheRunningRequest) {
  client_->say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  server_->drain();
  answerer_.answer(200, "last");
  ASSERT_TRUE(loop_.until([&] { return client_->ended; }));
  EXPECT_NE(client_->heard.find("connection: close"), std::string::npos);
}

TEST_F(H1ServerTest, DrainingItAnswersOneMoreRequestOfAnIdleConnection) {
  answerer_.on_start = [&] { answerer_.answer(200, "woven"); };
  client_->say("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return client_->heard.find("woven") != std::string::npos; }));
  server_->drain();
  loop_.settle();
  EXPECT_FALSE(client_->ended) << "its next request may be on its way";
  client_->heard.clear();
  client_->say("GET /second HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return client_->ended; }));
  EXPECT_NE(client_->heard.find("woven"), std::string::npos);
  EXPECT_NE(client_->heard.find("connection: close"), std::string::npos);
}

TEST_F(H1ServerTest, DrainingItStaysForARequestAfterAnAnswerThatDidNotSayClose) {
  client_->say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  ResponseHead head;
  head.status = 200;
  head.fields.add("content-length", "4");
  head.content = Content::sized;
  answerer_.requester->respond(head, false);
  server_->drain();
  answerer_.finish([](ResponsePeer& to) { to.data(bytes_of("last"), true); });
  ASSERT_TRUE(loop_.until([&] { return client_->heard.find("last") != std::string::npos; }));
  loop_.settle();
  EXPECT_FALSE(client_->ended) << "nobody told the client";
  server_->end_idle();
  EXPECT_TRUE(loop_.until([&] { return client_->ended; }));
}

TEST_F(H1ServerTest, EndsIdleConnectionsAfterALongDrain) {
  answerer_.on_start = [&] { answerer_.answer(200, "woven"); };
  client_->say("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return client_->heard.find("woven") != std::string::npos; }));
  server_->drain();
  server_->end_idle();
  EXPECT_TRUE(loop_.until([&] { return client_->ended; }));
}

TEST_F(H1ServerTest, AnswersTheRequestsThatHadArrivedWhenItBeganToDrain) {
  server_->drain();
  server_->end_idle();  // the connection is new: its first request is on its way
  client_->say("GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  answerer_.answer(200, "first");
  ASSERT_TRUE(loop_.until([&] { return client_->ended; }));
  EXPECT_NE(client_->heard.find("first"), std::string::npos);
}

class H1ClientTest : public ::testing::Test, public H1ClientOwner {
 protected:
  H1ClientTest() {
    auto [ours, theirs] = make_pipe(loop_.loop);
    server_ = std::make_unique<Talker>(std::move(theirs));
    client_ = std::make_unique<H1Client>(loop_.engine, std::move(ours), *this);
  }
  void client_idle(H1Client&) override { ++idle_; }
  void client_closed(H1Client&) override { ++closed_; }
  void ask(std::string_view head_text, bool end = true) {
    asker_ = Asker();
    head_ = request(head_text);
    asker_.peer = client_->start(head_, end, asker_);
    loop_.settle();
  }
  TestLoop loop_;
  RequestHead head_;
  Asker asker_;
  std::unique_ptr<Talker> server_;
  std::unique_ptr<H1Client> client_;
  int idle_ = 0, closed_ = 0;
};

TEST_F(H1ClientTest, SendsARequestAndReadsItsAnswer) {
  ask("GET /a HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(server_->heard, "GET /a HTTP/1.1\r\nHost: web\r\n\r\n");
  server_->say("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  ASSERT_TRUE(loop_.until([&] { return asker_.over; }));
  EXPECT_EQ(asker_.content, "ok");
  EXPECT_EQ(asker_.informed, std::vector<int>{103});
  EXPECT_EQ(idle_, 1);
}

TEST_F(H1ClientTest, NeverReusesAConnectionWithBytesAfterTheResponse) {
  ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  server_->say(
      "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
  ASSERT_TRUE(loop_.until([&] { return closed_ == 1; }));
  EXPECT_EQ(asker_.status, 200);
  EXPECT_EQ(idle_, 0);
}

TEST_F(H1ClientTest, TakesContentUntilTheServerCloses) {
  ask("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
  server_->say("HTTP/1.0 200 OK\r\n\r\nall of it");
  server_->stream->finish_writes();
  ASSERT_TRUE(loop_.until([&] { return asker_.over; }));
  EXPECT_EQ(asker_.content, "all of it");
  EXPECT_FALSE(asker_.aborted);
  EXPECT_EQ(closed_, 1);
}

TEST_F(H1ClientTest, AbortsWhenAResponseIsCut) {
  ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  server_->say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  server_->stream->finish_writes();
  ASSERT_TRUE(loop_.until([&] { return asker_.over; }));
  EXPECT_EQ(asker_.aborted, Abort::connection);
}

TEST_F(H1ClientTest, SaysStaleOnlyForAReusedConnection) {
  ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  server_->say("HTTP/1.1 204 No Content\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return idle_ == 1; }));
  ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  server_->stream->finish_writes();
  ASSERT_TRUE(loop_.until([&] { return asker_.over; }));
  EXPECT_EQ(asker_.aborted, Abort::stale);
}

TEST_F(H1ClientTest, IgnoresTheContentLengthOfAHeadResponse) {
  ask("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  server_->say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
  EXPECT_TRUE(loop_.until([&] { return asker_.over && idle_ == 1; }));
}

TEST_F(H1ClientTest, HandsTheStreamOverAfter101WithWhatWasReadTooMuch) {
  ask("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  EXPECT_NE(server_->heard.find("connection: upgrade\r\nupgrade: websocket\r\n"), std::string::npos)
      << server_->heard;
  server_->say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nframe");
  ASSERT_TRUE(loop_.until([&] { return asker_.upstream != nullptr; }));
  EXPECT_EQ(asker_.status, 101);
  std::array<std::byte, 64> buffer;
  const IoResult result = asker_.upstream->read(buffer);
  EXPECT_EQ(text_of(std::span(buffer).first(result.size)), "frame");
}

TEST_F(H1ClientTest, StopsReadingFromAServerWhoseContentNobodyConsumes) {
  ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  asker_.consume = false;
  server_->say("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + std::string(5'000'000, 'd'));
  loop_.settle();
  EXPECT_LE(asker_.content.size(), window);
  asker_.consume = true;
  asker_.peer->consumed(asker_.content.size());
  EXPECT_TRUE(loop_.until([&] { return asker_.over; }));
  EXPECT_EQ(asker_.content.size(), 5'000'000u);
}

}  // namespace
}  // namespace heddle::proxy::http
