// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/h1_client.h"
#include "proxy/http/h1_format.h"
#include "proxy/http/h1_server.h"
#include "proxy/http/h2_client.h"
#include "tests/unit/http/raw_peer.h"

namespace heddle::proxy::http {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds stall{100};
// More than any buffer between.
const std::string large(1 << 20, 'x');
constexpr std::string_view no_window{"\0\0\6\4\0\0\0\0\0\0\4\0\0\0\0", 15};  // SETTINGS_INITIAL_WINDOW_SIZE 0

std::string window_update(std::uint32_t stream, char size) {
  return frame(NGHTTP2_WINDOW_UPDATE, 0, stream, std::string("\0\0\0", 3) + size);
}

// Error codes of the RST_STREAM frames in what was heard.
std::vector<int> resets(std::string_view heard) {
  if (heard.starts_with(preface)) heard.remove_prefix(preface.size());
  std::vector<int> codes;
  while (heard.size() >= 9) {
    const auto at = [&](std::size_t i) { return static_cast<unsigned char>(heard[i]); };
    const auto size = static_cast<std::size_t>(at(0) << 16 | at(1) << 8 | at(2));
    if (heard.size() < 9 + size) break;
    if (at(3) == NGHTTP2_RST_STREAM) codes.push_back(at(12));
    heard.remove_prefix(9 + size);
  }
  return codes;
}

class Stalls : public ::testing::Test, public TunnelHandler {
 protected:
  explicit Stalls(milliseconds time = stall)
      : loop_({.head = milliseconds(0),
               .idle = milliseconds(0),
               .closing_look = milliseconds(5),
               .stall = time}) {
    load_->limits.buffered_bytes = std::size_t{1} << 30;
  }
  std::unique_ptr<Stream> pipe(bool deaf) {
    auto [ours, theirs] = make_pipe(loop_.loop);
    peer_ = std::make_unique<Talker>(std::move(theirs));
    peer_->deaf = deaf;
    return std::move(ours);
  }
  void serve(bool http2, std::string_view first_words) {
    auto ours = pipe(!http2);
    server_ =
        http2 ? make_h2_server(loop_.engine, std::move(ours), answerer_, owner_, {}, this, ByteBudget(load_))
              : make_h1_server(loop_.engine, std::move(ours), answerer_, owner_, ByteBudget(load_));
    peer_->say(first_words);
  }
  std::string check_tunnel(std::string_view, std::string_view) override { return {}; }
  void open_tunnel(std::string_view, std::unique_ptr<Stream> stream) override { tunnel_ = std::move(stream); }
  void begin_answer(std::string_view content) {
    ResponseHead head;
    head.status = 200;
    answerer_.requester->respond(head, false);
    if (answerer_.requester != nullptr) answerer_.requester->data(bytes_of(content), false);
  }
  void wait(milliseconds time) {
    Timer timer(loop_.loop, [] {});
    timer.arm(time);
    EXPECT_TRUE(loop_.until([&] { return !timer.armed(); }));
  }
  std::uint64_t counted() const { return load_->refusals.of(Refusal::stalled); }
  RequestHead post() {
    RequestHead head;
    EXPECT_TRUE(parse_request_head("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", head));
    EXPECT_TRUE(settle(head));
    strip_hop_by_hop(head.fields);
    return head;
  }

  std::shared_ptr<PodLoad> load_ = std::make_shared<PodLoad>();
  TestLoop loop_;
  Answerer answerer_;
  Owner owner_;
  std::unique_ptr<Talker> peer_;
  std::unique_ptr<ServerCodec> server_;
  std::unique_ptr<Stream> tunnel_;
};

// For receivers that are slow, but far from so slow also where the machine is.
constexpr milliseconds long_stall{1000};
constexpr milliseconds step{50};
struct SlowReaders : Stalls {
  SlowReaders() : Stalls(long_stall) {}
};

struct Pool final : H2ClientOwner, H1ClientOwner {
  void client_available(H2Client&) override {}
  void client_closed(H2Client&) override {}
  void client_idle(H1Client&) override {}
  void client_closed(H1Client&) override {}
};

TEST_F(Stalls, EndAConnectionWhoseClientTakesNothingOfARunningAnswer) {
  answerer_.on_start = [&] { begin_answer(large); };
  serve(false, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return owner_.closed == 1; }));
  EXPECT_TRUE(answerer_.aborted) << "the server need not go on";
  EXPECT_EQ(counted(), 1u);
}

TEST_F(Stalls, EndAConnectionWhoseClientTakesNothingOfItsLastAnswer) {
  answerer_.on_start = [&] { answerer_.answer(200, large); };
  serve(false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return owner_.closed == 1; }));
  EXPECT_EQ(counted(), 1u);
}

TEST_F(SlowReaders, KeepTheirConnection) {
  answerer_.on_start = [&] { begin_answer(large); };
  serve(false, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  // For longer than nothing may be taken.
  for (milliseconds past{0}; past < long_stall + 5 * step; past += step) {
    wait(step);
    std::array<std::byte, 16 * 1024> piece;
    ASSERT_EQ(peer_->stream->read(piece).status, IoStatus::ok);
  }
  EXPECT_EQ(owner_.closed, 0);
  EXPECT_EQ(counted(), 0u);
}

TEST_F(Stalls, DoNotEndConnectionsOnWhichNothingWaits) {
  for (const bool http2 : {false, true}) {
    answerer_.on_start = [&] { begin_answer("some"); };
    serve(http2,
          http2 ? std::string(preface).append(empty_settings) + get(1) : "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait(4 * stall);
    EXPECT_EQ(owner_.closed, 0) << http2;
    EXPECT_FALSE(answerer_.aborted) << http2;
    server_->abort();
    answerer_.requester = nullptr;
  }
  EXPECT_EQ(counted(), 0u);
}

TEST_F(Stalls, ResetAStreamWithoutAWindowAndNoOther) {
  answerer_.several = true;
  answerer_.on_start = [&] {
    if (answerer_.started == 1) return begin_answer("waits for ever");
    answerer_.answer(200, "");
  };
  serve(true, std::string(preface).append(no_window) + get(1));
  ASSERT_TRUE(loop_.until([&] { return resets(peer_->heard).size() == 1; }));
  EXPECT_EQ(resets(peer_->heard)[0], NGHTTP2_ENHANCE_YOUR_CALM);
  EXPECT_TRUE(answerer_.aborted);
  EXPECT_EQ(counted(), 1u);
  peer_->say(get(3));
  EXPECT_TRUE(loop_.until([&] { return answerer_.started == 2; }));
  EXPECT_EQ(owner_.closed, 0);
}

TEST_F(SlowReaders, KeepAStreamWhoseWindowOpensALittle) {
  answerer_.on_start = [&] { begin_answer(std::string(100, 'w')); };
  serve(true, std::string(preface).append(no_window) + get(1));
  for (milliseconds past{0}; past < long_stall + 5 * step; past += step) {
    wait(step);
    peer_->say(window_update(1, 1));
  }
  loop_.settle();
  EXPECT_TRUE(resets(peer_->heard).empty());
  EXPECT_EQ(counted(), 0u);
}

TEST_F(Stalls, EndAnHttp2ConnectionWhosePeerReadsNothing) {
  answerer_.on_start = [&] { begin_answer(large); };
  // Windows as large as can be.
  serve(true, preface);
  peer_->say(std::string_view("\0\0\6\4\0\0\0\0\0\0\4\x7f\xff\xff\xff", 15));
  peer_->say(frame(NGHTTP2_WINDOW_UPDATE, 0, 0, std::string_view("\x7f\x0f\0\0", 4)));
  peer_->deaf = true;
  peer_->say(get(1));
  ASSERT_TRUE(loop_.until([&] { return owner_.closed == 1; }));
  EXPECT_TRUE(answerer_.aborted);
  EXPECT_GE(counted(), 1u);
}

TEST_F(Stalls, EndARequestWhoseServerTakesNothingOfIt) {
  Pool pool;
  H1Client client(loop_.engine, pipe(true), pool, ByteBudget(load_));
  Asker asker;
  asker.peer = client.start(post(), false, asker);
  asker.peer->data(bytes_of(large), false);
  ASSERT_TRUE(loop_.until([&] { return asker.over; }));
  EXPECT_EQ(asker.aborted, Abort::timeout);
  EXPECT_EQ(counted(), 1u);
}

TEST_F(Stalls, EndAnHttp2RequestWhoseServerOpensNoWindow) {
  Pool pool;
  H2Client client(loop_.engine, pipe(false), pool, {}, false, ByteBudget(load_));
  peer_->say(no_window);
  loop_.settle();
  Asker asker;
  asker.peer = client.start(post(), false, asker);
  asker.peer->data(bytes_of("content"), false);
  ASSERT_TRUE(loop_.until([&] { return asker.over; }));
  EXPECT_EQ(asker.aborted, Abort::timeout);
  ASSERT_TRUE(loop_.until([&] { return !resets(peer_->heard).empty(); }));
  EXPECT_EQ(resets(peer_->heard)[0], NGHTTP2_CANCEL);
  EXPECT_EQ(counted(), 1u);
}

// What a tunnel carries may be a protocol in which it is honest to wait for hours.
TEST_F(Stalls, DoNotEndATunnel) {
  serve(true, std::string(preface).append(no_window) + frame(NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1,
                                                             "\x42\x07"
                                                             "CONNECT\x41\x01"
                                                             "a"));
  ASSERT_TRUE(loop_.until([&] { return tunnel_ != nullptr; }));
  std::string bytes(1000, 'b');
  const iovec part{bytes.data(), bytes.size()};
  ASSERT_EQ(tunnel_->write(std::span(&part, 1)).status, IoStatus::ok);
  wait(4 * stall);
  EXPECT_TRUE(resets(peer_->heard).empty());
  EXPECT_EQ(counted(), 0u);
}

}  // namespace
}  // namespace heddle::proxy::http
