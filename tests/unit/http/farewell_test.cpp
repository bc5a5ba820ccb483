// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>

#include "proxy/http/h2_server.h"
#include "tests/unit/http/in_memory.h"
#include "tests/unit/proxy_core/tcp_pair.h"

namespace heddle::proxy::http {
namespace {

using std::chrono::milliseconds;

// What a blocking client socket gets until its end; "<reset>" when that is an error.
std::string read_to_end(int socket) {
  std::string all;
  std::array<char, 65536> buffer;
  while (true) {
    const ssize_t got = ::recv(socket, buffer.data(), buffer.size(), 0);
    if (got == 0) return all;
    if (got < 0) return all + "<reset>";
    all.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

class FarewellTest : public ::testing::Test {
 protected:
  explicit FarewellTest(milliseconds look = milliseconds(10))
      : loop_({milliseconds(0), milliseconds(0), look}) {}
  void say(std::string_view text) {
    ASSERT_EQ(::send(pair_.client.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  }
  // The same while our side goes on.
  std::string read_in_turns() {
    std::string heard;
    std::array<char, 65536> buffer;
    const bool ended = loop_.until([&] {
      const ssize_t got = ::recv(pair_.client.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got > 0) heard.append(buffer.data(), static_cast<std::size_t>(got));
      if (got < 0 && errno != EAGAIN) heard += "<reset>";
      return got == 0 || (got < 0 && errno != EAGAIN);
    });
    return ended ? heard : heard + "<no end>";
  }
  TestLoop loop_;
  test::TcpPair pair_;
  Answerer answerer_;
  Owner owner_;
};

// Nobody is given up in the time of a test.
class LongFarewell : public FarewellTest {
 protected:
  LongFarewell() : FarewellTest(std::chrono::minutes(1)) {}
};

TEST_F(LongFarewell, IsNotNeededForAClientThatSaidItsLastWord) {
  const int descriptor = pair_.server.get();
  auto server =
      make_h1_server(loop_.engine, make_tcp_stream(loop_.loop, std::move(pair_.server)), answerer_, owner_);
  answerer_.on_start = [&] { answerer_.answer(200, "last"); };
  say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  loop_.settle();
  EXPECT_EQ(owner_.closed, 1) << "it waits for the client's end";
  server.reset();
  EXPECT_EQ(::fcntl(descriptor, F_GETFD), -1);
  const std::string heard = read_to_end(pair_.client.get());
  EXPECT_TRUE(heard.ends_with("last")) << heard;
}

TEST_F(LongFarewell, IsSaidToAClientThatSendsOnAfterItsLastWord) {
  auto server =
      make_h1_server(loop_.engine, make_tcp_stream(loop_.loop, std::move(pair_.server)), answerer_, owner_);
  answerer_.on_start = [&] { answerer_.answer(200, "last"); };
  say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /more HTTP/1.1\r\n");
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  loop_.settle();
  EXPECT_EQ(owner_.closed, 0) << "the rest of it would reset the answer";
  ::shutdown(pair_.client.get(), SHUT_WR);
  ASSERT_TRUE(loop_.until([&] { return owner_.closed == 1; }));
  server.reset();
  const std::string heard = read_to_end(pair_.client.get());
  EXPECT_TRUE(heard.ends_with("last")) << heard;
}

TEST_F(LongFarewell, IsSaidToAClientWhoseRequestWasRefused) {
  auto server =
      make_h1_server(loop_.engine, make_tcp_stream(loop_.loop, std::move(pair_.server)), answerer_, owner_);
  say("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n");
  loop_.settle();
  EXPECT_EQ(owner_.closed, 0) << "its content is still to come, and would reset what it is told";
  say("abc");
  ::shutdown(pair_.client.get(), SHUT_WR);
  ASSERT_TRUE(loop_.until([&] { return owner_.closed == 1; }));
  server.reset();
  const std::string heard = read_to_end(pair_.client.get());
  EXPECT_TRUE(heard.starts_with("HTTP/1.1 400 ") && !heard.ends_with("<reset>")) << heard;
}

TEST_F(FarewellTest, DoesNotWaitForAClientThatKeepsItsHalfOpen) {
  auto server =
      make_h1_server(loop_.engine, make_tcp_stream(loop_.loop, std::move(pair_.server)), answerer_, owner_);
  answerer_.on_start = [&] { answerer_.answer(200, "last"); };
  say("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
  const auto begin = Loop::Clock::now();
  ASSERT_TRUE(loop_.until([&] { return owner_.closed == 1; }));
  EXPECT_LT(Loop::Clock::now() - begin, std::chrono::seconds(2)) << "a few looks of 10 ms";
  server.reset();
  const std::string heard = read_to_end(pair_.client.get());
  EXPECT_TRUE(heard.ends_with("last")) << heard;
}

TEST_F(FarewellTest, LosesNothingOfALargeAnswerToAClientThatReadsLate) {
  auto server =
      make_h1_server(loop_.engine, make_tcp_stream(loop_.loop, std::move(pair_.server)), answerer_, owner_);
  const std::string body(60'000, 'x');
  std::size_t sent = 0;
  say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  ResponseHead head;
  head.status = 200;
  answerer_.requester->respond(head, false);
  // As much as the kernel takes of a client that does not read, and then some.
  while (answerer_.credit == sent) {
    answerer_.requester->data(bytes_of(body), false);
    sent += body.size();
    loop_.settle();
  }
  answerer_.finish([](ResponsePeer& to) { to.data({}, true); });
  // It reads nothing for longer than a client that has everything is waited for.
  Timer late(loop_.loop, [] {});
  late.arm(milliseconds(100));
  ASSERT_TRUE(loop_.until([&] { return !late.armed(); }));
  const std::string heard = read_in_turns();
  EXPECT_TRUE(heard.ends_with("0\r\n\r\n"));
  EXPECT_GT(heard.size(), sent);
}

TEST_F(FarewellTest, ResetsAClientThatNeverReadsItsLastAnswer) {
  // More than the client's kernel takes, less than ours: unacknowledged for ever.
  const int room = 200'000;
  ::setsockopt(pair_.server.get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  const int small = 2048;
  ::setsockopt(pair_.client.get(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  auto server =
      make_h1_server(loop_.engine, make_tcp_stream(loop_.loop, std::move(pair_.server)), answerer_, owner_);
  const std::string body(150'000, 'x');
  answerer_.on_start = [&] { answerer_.answer(200, body); };
  say("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  EXPECT_TRUE(loop_.until([&] { return owner_.closed == 1; }));
  server.reset();
  EXPECT_TRUE(read_to_end(pair_.client.get()).ends_with("<reset>"));
}

TEST_F(FarewellTest, ADrainedHttp2ConnectionDeliversItsLastAnswer) {
  auto server = make_h2_server(loop_.engine, make_tcp_stream(loop_.loop, std::move(pair_.server)), answerer_,
                               owner_, H2Settings{}, nullptr);
  // The client's frames by hand: preface, SETTINGS with a large window, a window for the connection, GET /.
  std::string frames = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  frames += std::string_view("\0\0\6\4\0\0\0\0\0\0\4\x7f\xff\xff\xff", 15);
  frames += std::string_view("\0\0\4\x8\0\0\0\0\0\x7f\xff\0\0", 13);
  frames += std::string_view("\0\0\6\1\5\0\0\0\1\x82\x86\x84\x41\1a", 15);
  say(frames);
  ASSERT_TRUE(loop_.until([&] { return answerer_.started == 1; }));
  server->drain();
  const std::string body(300'000, 'y');
  answerer_.answer(200, body);
  // The client begins to read when our side has long said GOAWAY for good: it answers the PING unread.
  say(std::string_view("\0\0\x8\6\1\0\0\0\0last one", 17));
  Timer late(loop_.loop, [] {});
  late.arm(milliseconds(200));
  ASSERT_TRUE(loop_.until([&] { return !late.armed(); }));
  const std::string heard = read_in_turns();
  EXPECT_EQ(static_cast<std::size_t>(std::count(heard.begin(), heard.end(), 'y')), body.size());
  EXPECT_FALSE(heard.ends_with("<reset>"));
  EXPECT_TRUE(loop_.until([&] { return owner_.closed == 1; }));
}

}  // namespace
}  // namespace heddle::proxy::http
