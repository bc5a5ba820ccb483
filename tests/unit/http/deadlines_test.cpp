// SPDX-License-Identifier: Apache-2.0
#include <nghttp2/nghttp2.h>

#include "proxy/http/h2_server.h"
#include "tests/unit/http/in_memory.h"

namespace heddle::proxy::http {
namespace {

using std::chrono::milliseconds;

struct Item final : Deadline {
  std::function<void()> act;
  int fired = 0;
  void on_deadline() override {
    ++fired;
    if (act) act();
  }
};

TEST(DeadlineList, CallsInOrderAndOnlyWhoStillWaits) {
  TestLoop loop;
  DeadlineList list(loop.loop, milliseconds(20));
  std::string order;
  Item a, b, c;
  a.act = [&] { order += 'a'; };
  b.act = [&] { order += 'b'; };
  c.act = [&] { order += 'c'; };
  list.start(a);
  {
    Item gone;
    gone.act = [&] { order += '!'; };
    list.start(gone);
  }
  list.start(b);
  list.start(c);
  list.start(a);  // anew: it is the last one now
  ASSERT_TRUE(loop.until([&] { return order.size() == 3; }));
  EXPECT_EQ(order, "bca");
  EXPECT_EQ(a.waits_in(), nullptr);
}

TEST(DeadlineList, OfLengthZeroNeverEndsAWait) {
  TestLoop loop;
  DeadlineList never(loop.loop, milliseconds(0));
  DeadlineList soon(loop.loop, milliseconds(1));
  Item waits, passes;
  never.start(waits);
  soon.start(passes);
  ASSERT_TRUE(loop.until([&] { return passes.fired == 1; }));
  EXPECT_EQ(waits.fired, 0);
}

TEST(DeadlineList, LetsAnItemWaitAgainFromItsOwnCall) {
  TestLoop loop;
  DeadlineList list(loop.loop, milliseconds(1));
  Item item;
  item.act = [&] {
    if (item.fired < 3) list.start(item);
  };
  list.start(item);
  EXPECT_TRUE(loop.until([&] { return item.fired == 3; }));
}

// A server-side connection whose client is slow.
struct Slow {
  explicit Slow(TestLoop& on, bool http2 = false) : loop(on) {
    auto [ours, theirs] = make_pipe(loop.loop);
    client = std::make_unique<Talker>(std::move(theirs));
    server = http2 ? make_h2_server(loop.engine, std::move(ours), answerer, owner, H2Settings{}, nullptr)
                   : make_h1_server(loop.engine, std::move(ours), answerer, owner);
  }
  bool over() const { return client->ended || client->error != 0; }
  TestLoop& loop;
  Answerer answerer;
  Owner owner;
  std::unique_ptr<Talker> client;
  std::unique_ptr<ServerCodec> server;
};

TEST(HeadTimeout, Answers408ToAClientThatDribblesItsHead) {
  TestLoop loop({milliseconds(50), milliseconds(0), milliseconds(5)});
  Slow slow(loop);
  slow.client->say("GET / HTTP/1.1\r\nHost: a\r\n");
  // Every turn another byte: none of them moves the deadline.
  ASSERT_TRUE(loop.until([&] {
    if (!slow.over()) slow.client->say("x");
    return slow.over();
  }));
  EXPECT_TRUE(slow.client->heard.starts_with("HTTP/1.1 408 Request Timeout\r\n")) << slow.client->heard;
  EXPECT_NE(slow.client->heard.find("connection: close"), std::string::npos);
  EXPECT_EQ(slow.answerer.started, 0);
  EXPECT_TRUE(loop.until([&] { return slow.owner.closed == 1; }));
}

TEST(HeadTimeout, AppliesToEachHeadOfAConnection) {
  TestLoop loop({milliseconds(50), milliseconds(0), milliseconds(5)});
  Slow slow(loop);
  slow.answerer.on_start = [&] { slow.answerer.answer(200, "x"); };
  slow.client->say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop.until([&] { return slow.client->heard.ends_with("x"); }));
  slow.client->heard.clear();
  slow.client->say("GET / H");
  ASSERT_TRUE(loop.until([&] { return slow.over(); }));
  EXPECT_TRUE(slow.client->heard.starts_with("HTTP/1.1 408 ")) << slow.client->heard;
}

TEST(HeadTimeout, SparesIdleConnectionsAndSlowContent) {
  TestLoop loop({milliseconds(30), milliseconds(0), milliseconds(5)});
  Slow idle(loop), uploading(loop);
  idle.answerer.on_start = [&] { idle.answerer.answer(200, "x"); };
  idle.client->say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  uploading.client->say("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
  ASSERT_TRUE(
      loop.until([&] { return idle.client->heard.ends_with("x") && uploading.answerer.started == 1; }));
  // Two connections whose time-outs begin after theirs would have.
  for (int i = 0; i < 2; ++i) {
    Slow clock(loop);
    clock.client->say("G");
    ASSERT_TRUE(loop.until([&] { return clock.over(); }));
  }
  EXPECT_FALSE(idle.over());
  EXPECT_FALSE(uploading.over());
}

TEST(IdleTimeout, ClosesAKeptConnectionWithoutAnAnswer) {
  TestLoop loop({milliseconds(0), milliseconds(40), milliseconds(5)});
  Slow slow(loop);
  slow.answerer.on_start = [&] { slow.answerer.answer(200, "x"); };
  slow.client->say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop.until([&] { return slow.client->ended; }));
  EXPECT_TRUE(slow.client->heard.ends_with("x")) << slow.client->heard;
  EXPECT_TRUE(loop.until([&] { return slow.owner.closed == 1; }));
}

TEST(IdleTimeout, BeginsAnewWithEveryRequest) {
  TestLoop loop({milliseconds(0), milliseconds(400), milliseconds(5)});
  Slow busy(loop);
  busy.answerer.on_start = [&] { busy.answerer.answer(200, "x"); };
  const auto begin = Loop::Clock::now();
  while (Loop::Clock::now() - begin < milliseconds(1000)) {
    busy.client->heard.clear();
    busy.client->say("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    ASSERT_TRUE(loop.until([&] { return busy.client->heard.ends_with("x") || busy.over(); }));
    ASSERT_FALSE(busy.over()) << "a connection in use was closed";
  }
}

constexpr std::string_view preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::string_view empty_settings{"\0\0\0\4\0\0\0\0\0", 9};

// The error code of the GOAWAY frame in what a client heard, or -1.
int goaway_code(std::string_view frames) {
  while (frames.size() >= 9) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(frames[i]); };
    const std::size_t size = byte(0) << 16 | byte(1) << 8 | byte(2);
    if (frames.size() < 9 + size) return -1;
    if (byte(3) == NGHTTP2_GOAWAY) return byte(9 + 7);
    frames.remove_prefix(9 + size);
  }
  return -1;
}

TEST(HeadTimeout, EndsAnHttp2ConnectionWithoutSettings) {
  TestLoop loop({milliseconds(40), milliseconds(0), milliseconds(5)});
  Slow slow(loop, true);
  slow.client->say(preface.substr(0, 20));
  ASSERT_TRUE(loop.until([&] { return slow.over(); }));
  EXPECT_EQ(goaway_code(slow.client->heard), NGHTTP2_SETTINGS_TIMEOUT);
  EXPECT_TRUE(loop.until([&] { return slow.owner.closed == 1; }));
}

TEST(HeadTimeout, EndsAnHttp2ConnectionWhoseHeadNeverEnds) {
  TestLoop loop({milliseconds(40), milliseconds(0), milliseconds(5)});
  Slow slow(loop, true);
  slow.client->say(preface);
  slow.client->say(empty_settings);
  // HEADERS of stream 1 without END_HEADERS: ":method: GET" only, CONTINUATION never comes.
  slow.client->say(std::string_view("\0\0\1\1\0\0\0\0\1\x82", 10));
  ASSERT_TRUE(loop.until([&] { return slow.over(); }));
  EXPECT_EQ(goaway_code(slow.client->heard), NGHTTP2_ENHANCE_YOUR_CALM);
  EXPECT_TRUE(loop.until([&] { return slow.owner.closed == 1; }));
}

TEST(HeadTimeout, IsForEachHttp2HeadAnew) {
  TestLoop loop({milliseconds(1000), milliseconds(0), milliseconds(5)});
  Slow busy(loop, true);
  busy.answerer.on_start = [&] { busy.answerer.answer(200, ""); };
  busy.client->say(preface);
  busy.client->say(empty_settings);
  // ":method: GET", then the rest of it; whenever one head ends the next has begun.
  const auto begin_of = [](char stream) { return std::string("\0\0\1\1\1\0\0\0", 8) + stream + "\x82"; };
  const auto end_of = [](char stream) {
    return std::string("\0\0\5\x9\4\0\0\0", 8) + stream + std::string("\x86\x84\x41\1a", 5);
  };
  char stream = 1;
  busy.client->say(begin_of(stream));
  const auto since = Loop::Clock::now();
  for (; Loop::Clock::now() - since < milliseconds(1500) && stream < 100; stream += 2) {
    Timer pause(loop.loop, [] {});
    pause.arm(milliseconds(100));
    ASSERT_TRUE(loop.until([&] { return !pause.armed(); }));
    busy.client->say(end_of(stream) + begin_of(static_cast<char>(stream + 2)));
    loop.settle();
    ASSERT_FALSE(busy.over()) << "after " << busy.answerer.started << " heads in time";
  }
  EXPECT_GT(busy.answerer.started, 10);
}

TEST(HeadTimeout, ForgetsAnHttp2HeadThatWasRefused) {
  TestLoop loop({milliseconds(30), milliseconds(0), milliseconds(5)});
  Slow odd(loop, true);
  odd.client->say(preface);
  odd.client->say(empty_settings);
  // ":method: GET" and "A: b": names are lower case, so the stream is reset (RFC 9113 8.2.1).
  odd.client->say(std::string_view("\0\0\6\1\5\0\0\0\1\x82\0\1A\1b", 15));
  // Two connections whose time-outs begin after its own would have.
  for (int i = 0; i < 2; ++i) {
    Slow clock(loop);
    clock.client->say("G");
    ASSERT_TRUE(loop.until([&] { return clock.over(); }));
  }
  EXPECT_FALSE(odd.over()) << "the rest of the connection is well";
}

TEST(IdleTimeout, SaysGoawayOnAnIdleHttp2Connection) {
  TestLoop loop({milliseconds(0), milliseconds(40), milliseconds(5)});
  Slow slow(loop, true);
  slow.client->say(preface);
  slow.client->say(empty_settings);
  ASSERT_TRUE(loop.until([&] { return goaway_code(slow.client->heard) >= 0; }));
  EXPECT_EQ(goaway_code(slow.client->heard), NGHTTP2_NO_ERROR);
}

}  // namespace
}  // namespace heddle::proxy::http
