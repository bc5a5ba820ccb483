// SPDX-License-Identifier: Apache-2.0
// Frames that cost and carry nothing end their connection, and honest peers that use the same frames keep
// theirs.
#include "proxy/http/glitches.h"
#include "proxy/http/h2_client.h"
#include "tests/unit/http/raw_peer.h"

namespace heddle::proxy::http {
namespace {

using namespace std::chrono_literals;

TEST(Glitches, AreABurstAndThenSoManyASecond) {
  const Glitches::Clock::time_point start{};
  Glitches glitches(100, 10, start);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(glitches.spend(1, start));
  EXPECT_FALSE(glitches.spend(1, start));
  EXPECT_TRUE(glitches.spend(10, start + 1s));
  EXPECT_FALSE(glitches.spend(1, start + 1s));
  EXPECT_FALSE(glitches.spend(101, start + 1h)) << "never more than the burst";
  EXPECT_TRUE(glitches.spend(100, start + 1h));
}

TEST(Glitches, AreEarnedUpToTheBurst) {
  const Glitches::Clock::time_point start{};
  Glitches glitches(10, 0, start);
  glitches.earn(5);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(glitches.spend(1, start));
  EXPECT_FALSE(glitches.spend(1, start));
  glitches.earn(3);
  EXPECT_TRUE(glitches.spend(3, start));
  EXPECT_FALSE(glitches.spend(1, start));
}

class Floods : public RawPeer {
 protected:
  Floods() : RawPeer(H2Settings()) {}
  // Up to 10,000 streams, no more at once than the limit allows.
  void open_each_fifty(const std::function<std::string(std::uint32_t)>& frames) {
    for (std::uint32_t id = 1; id < 20'000 && !peer_->ended;) {
      std::string fifty;
      for (int i = 0; i < 50; ++i, id += 2) fifty += frames(id);
      peer_->say(fifty);
      loop_.settle();
    }
  }
  std::string times(int count, const std::string& text) {
    std::string all;
    all.reserve(text.size() * static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) all += text;
    return all;
  }
};

TEST_F(Floods, OfPingsThatAreAnsweredEndTheConnectionToo) {
  peer_->say(times(30'000, frame(NGHTTP2_PING, 0, 0, "12345678")));
  EXPECT_TRUE(ended_calmly()) << goaway();
  EXPECT_LT(peer_->heard.size(), 20'000u * 17);
  EXPECT_EQ(refused(Refusal::flood), 1u);
  EXPECT_EQ(refused(Refusal::malformed), 0u);
}

TEST_F(Floods, OfSettingsThatAreAcknowledgedEndTheConnectionToo) {
  peer_->say(times(5000, std::string(empty_settings)));
  EXPECT_TRUE(ended_calmly()) << goaway();
  EXPECT_LT(peer_->heard.size(), 2000u * 9);
}

TEST_F(Floods, OfPriorityEndTheConnection) {
  peer_->say(times(30'000, frame(NGHTTP2_PRIORITY, 0, 3, std::string_view("\0\0\0\1\x10", 5))));
  EXPECT_TRUE(ended_calmly()) << goaway();
}

TEST_F(Floods, OfWindowUpdatesEndTheConnection) {
  peer_->say(times(30'000, frame(NGHTTP2_WINDOW_UPDATE, 0, 0, std::string_view("\0\0\0\1", 4))));
  EXPECT_TRUE(ended_calmly()) << goaway();
}

TEST_F(Floods, OfEmptyDataEndTheConnection) {
  peer_->say(get(1, false));
  peer_->say(times(30'000, frame(NGHTTP2_DATA, 0, 1, "")));
  EXPECT_TRUE(ended_calmly()) << goaway();
  EXPECT_TRUE(answerer_.aborted) << "the request must not hang";
}

TEST_F(Floods, OfContinuationsEndTheConnection) {
  std::string block = frame(NGHTTP2_HEADERS, 0, 1,
                            "\x82\x86\x84\x41\x01"
                            "a");
  block += times(1000, frame(NGHTTP2_CONTINUATION, 0, 1, std::string_view("\0\1x\1y", 5)));
  peer_->say(block);
  EXPECT_TRUE(ended_calmly()) << goaway();
  EXPECT_EQ(answerer_.started, 0);
}

// A field of 4 KB is put into the table once, and then stands in a head some hundred times for a byte each.
TEST_F(Floods, OfFieldsOutOfTheTableEndTheConnection) {
  std::string first =
      "\x82\x86\x84\x41\x01"
      "a";
  first +=
      std::string_view("\x40\x01x\x7f\x81\x1e", 6);  // "x" with a value of 127 + 3841 = 3968 bytes, indexed
  first += std::string(3968, 'v');
  peer_->say(frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 1, first));
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  EXPECT_EQ(answerer_.fields.find("x")->size(), 3968u);
  // 62 is the table's newest entry.
  const std::string bomb = "\x82\x86\x84" + std::string(16'000, '\xbe');
  peer_->say(frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, 3, bomb));
  EXPECT_TRUE(ended_calmly()) << goaway();
  EXPECT_EQ(answerer_.started, 1);
}

TEST_F(Floods, OfStreamsThatOurSideHasToResetEndTheConnection) {
  answerer_.on_start = [&] { answerer_.answer(200, "x"); };
  // A window opened too far is an error of the stream: we reset it, and it no longer counts as one of a
  // hundred.
  open_each_fifty([](std::uint32_t id) {
    return get(id, false) + frame(NGHTTP2_WINDOW_UPDATE, 0, id, std::string_view("\x7f\xff\xff\xff", 4));
  });
  EXPECT_TRUE(ended_calmly()) << goaway();
  EXPECT_LT(answerer_.started, 3000);
}

TEST_F(Floods, OfMalformedRequestsEndTheConnection) {
  open_each_fifty([](std::uint32_t id) {  // a name in upper case
    return frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS, id,
                 std::string_view("\x82\x86\x84\0\1X\1y", 8));
  });
  EXPECT_TRUE(ended_calmly()) << goaway();
  EXPECT_EQ(refused(Refusal::flood), 1u);
  EXPECT_GT(refused(Refusal::malformed), 500u);
}

TEST_F(Floods, OfTheClientsOwnResetsAreCountedAsSuch) {
  open_and_reset(5000);
  ASSERT_TRUE(loop_.until([&] { return peer_->ended || peer_->error != 0; }));
  EXPECT_EQ(refused(Refusal::flood), 1u);
}

TEST(RefusedHeads, AreCountedByReason) {
  const std::pair<std::string, Refusal> cases[] = {
      {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Refusal::malformed},
      {"GET / HTTP/1.1\nHost: a\n\n", Refusal::malformed},
      {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", Refusal::malformed},
      {"GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(70'000, 'y') + "\r\n\r\n", Refusal::too_large},
      {"GET / HTTP/1.1\r\nHost: a\r\n", Refusal::too_slow},
  };
  for (const auto& [text, why] : cases) {
    TestLoop loop({20ms, 0ms, 5ms});
    auto [ours, theirs] = make_pipe(loop.loop);
    Talker client(std::move(theirs));
    Answerer answerer;
    Owner owner;
    const auto load = std::make_shared<PodLoad>();
    auto server = make_h1_server(loop.engine, std::move(ours), answerer, owner, ByteBudget(load));
    client.say(text);
    ASSERT_TRUE(loop.until([&] { return client.ended; })) << text.substr(0, 60);
    for (std::size_t i = 0; i < refusal_count; ++i) {
      const auto each = static_cast<Refusal>(i);
      EXPECT_EQ(load->refusals.of(each), each == why ? 1u : 0u)
          << to_string(each) << " " << text.substr(0, 60);
    }
  }
}

TEST_F(Floods, OfStreamsBeyondTheLimitEndTheConnection) {
  answerer_.several = true;
  std::string streams;
  for (std::uint32_t id = 1; id < 80'000; id += 2) streams += get(id, false);
  peer_->say(streams);
  EXPECT_TRUE(ended_calmly()) << goaway();
  EXPECT_LE(answerer_.started, 100);
}

// A reader whose windows are opened by a byte each time.
class OneByteWindows : public RawPeer {
 protected:
  OneByteWindows() : RawPeer(H2Settings(), std::string_view("\0\0\6\4\0\0\0\0\0\0\4\0\0\0\1", 15)) {}
};

TEST_F(OneByteWindows, EndTheConnectionBeforeLong) {
  answerer_.on_start = [&] { answerer_.answer(200, std::string(60'000, 'x')); };
  peer_->say(get(1));
  std::string updates;
  for (int i = 0; i < 30'000; ++i)
    updates += frame(NGHTTP2_WINDOW_UPDATE, 0, 1, std::string_view("\0\0\0\1", 4));
  peer_->say(updates);
  EXPECT_TRUE(ended_calmly()) << goaway();
}

TEST_F(Floods, AreNotWhatAReaderIsThatReturnsCreditForEveryFrame) {
  answerer_.on_start = [&] { answerer_.answer(200, "a small answer"); };
  // 40,000 requests, each with two updates and a PING: far more than the burst.
  for (std::uint32_t id = 1; id < 80'000 && !peer_->ended; id += 2) {
    peer_->say(get(id) + frame(NGHTTP2_WINDOW_UPDATE, 0, id, std::string_view("\0\0\0\x0e", 4)) +
               frame(NGHTTP2_WINDOW_UPDATE, 0, 0, std::string_view("\0\0\0\x0e", 4)) +
               frame(NGHTTP2_PING, 0, 0, "12345678"));
    if (id % 64 == 1) loop_.settle();
    if (peer_->heard.size() > 1'000'000) peer_->heard.clear();
  }
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 40'000 || peer_->ended; }));
  EXPECT_FALSE(peer_->ended);
}

// The other side: a server of whom we are the client.
struct Clients final : H2ClientOwner {
  void client_available(H2Client&) override {}
  void client_closed(H2Client&) override { ++closed; }
  int closed = 0;
};

TEST(FloodsOfAServer, EndTheConnectionAndItsRequests) {
  TestLoop loop;
  auto [ours, theirs] = make_pipe(loop.loop);
  Talker server(std::move(theirs));
  Clients owner;
  H2Client client(loop.engine, std::move(ours), owner, H2Settings{}, false);
  RequestHead head = request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  Asker asker;
  asker.peer = client.start(head, true, asker);
  loop.settle();
  std::string flood(empty_settings);
  for (int i = 0; i < 30'000; ++i) flood += frame(NGHTTP2_PING, 0, 0, "12345678");
  server.say(flood);
  ASSERT_TRUE(loop.until([&] { return owner.closed == 1; }));
  EXPECT_TRUE(asker.aborted.has_value());
}

}  // namespace
}  // namespace heddle::proxy::http
