// SPDX-License-Identifier: Apache-2.0
#include "proxy/io/stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "base/io/connection.h"
#include "proxy/io/loop.h"
#include "proxy/io/pipe.h"
#include "proxy/io/tcp_stream.h"
#include "proxy/io/unsent_room.h"
#include "tests/unit/proxy_core/tcp_pair.h"

namespace heddle::proxy {
namespace {

struct Recorder : StreamEvents {
  std::function<void()> readable, writable;
  void on_readable() override {
    if (readable) readable();
  }
  void on_writable() override {
    if (writable) writable();
  }
};

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
iovec vec(std::string_view bytes) {
  return {const_cast<char*>(bytes.data()), bytes.size()};
}

// Runs the loop until the condition holds or 5 s passed.
bool run_until(Loop& loop, const std::function<bool()>& condition) {
  const auto end = Loop::Clock::now() + std::chrono::seconds(5);
  Timer timer(loop, [&] { loop.stop(); });
  bool holds = condition();
  while (!holds && Loop::Clock::now() < end) {
    timer.arm(std::chrono::milliseconds(1));
    loop.run();
    holds = condition();
  }
  return holds;
}

struct Reader : StreamEvents {
  explicit Reader(Stream& s) : stream(s) { stream.set_events(this); }
  void on_readable() override {
    std::array<std::byte, 1000> buffer;
    while (true) {
      const IoResult result = stream.read(buffer);
      if (result.status == IoStatus::would_block) return;
      if (result.status != IoStatus::ok) {
        end = result;
        ended = true;
        return;
      }
      got += text(std::span(buffer).first(result.size));
    }
  }
  void on_writable() override { ++writable; }
  Stream& stream;
  std::string got;
  IoResult end;
  bool ended = false;
  int writable = 0;
};

TEST(TcpStream, ReadsWhatArrivedBeforeItWasMade) {
  Loop loop;
  test::TcpPair pair;
  ASSERT_EQ(::send(pair.client.get(), "hello", 5, 0), 5);
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  Reader reader(*stream);
  ASSERT_TRUE(run_until(loop, [&] { return reader.got == "hello"; })) << reader.got;
  ASSERT_EQ(::send(pair.client.get(), " again", 6, 0), 6);
  EXPECT_TRUE(run_until(loop, [&] { return reader.got == "hello again"; })) << reader.got;
}

TEST(TcpStream, SeesAnEndThatCameTogetherWithTheBytes) {
  Loop loop;
  test::TcpPair pair;
  ASSERT_EQ(::send(pair.client.get(), "bye", 3, 0), 3);
  ::shutdown(pair.client.get(), SHUT_WR);
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  Reader reader(*stream);
  ASSERT_TRUE(run_until(loop, [&] { return reader.ended; }));
  EXPECT_EQ(reader.got, "bye");
  EXPECT_EQ(reader.end.status, IoStatus::eof);
}

TEST(TcpStream, SaysOfTheLastBytesThatNothingFollows) {
  Loop loop;
  test::TcpPair pair;
  ASSERT_EQ(::send(pair.client.get(), "bye", 3, 0), 3);
  ::shutdown(pair.client.get(), SHUT_WR);
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  Recorder events;
  bool told = false;
  events.readable = [&] { told = true; };
  stream->set_events(&events);
  ASSERT_TRUE(run_until(loop, [&] { return told; }));
  std::array<std::byte, 2> some;
  const IoResult first = stream->read(some);
  EXPECT_EQ(first.size, 2u);
  EXPECT_FALSE(first.last) << "the buffer was full: there may be more";
  const IoResult rest = stream->read(some);
  EXPECT_EQ(rest.size, 1u);
  EXPECT_TRUE(rest.last);
  EXPECT_EQ(stream->read(some).status, IoStatus::eof);
}

TEST(TcpStream, SaysOfBytesWhetherMoreAreThere) {
  Loop loop;
  test::TcpPair pair;
  ASSERT_EQ(::send(pair.client.get(), "abc", 3, 0), 3);
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  Recorder events;
  int told = 0;
  events.readable = [&] { ++told; };
  stream->set_events(&events);
  ASSERT_TRUE(run_until(loop, [&] { return told == 1; }));
  std::array<std::byte, 2> some;
  EXPECT_FALSE(stream->read(some).drained) << "the buffer was full: there may be more";
  EXPECT_TRUE(stream->read(some).drained);
  EXPECT_EQ(stream->read(some).status, IoStatus::would_block);
  ASSERT_EQ(::send(pair.client.get(), "d", 1, 0), 1);
  ASSERT_TRUE(run_until(loop, [&] { return told == 2; }));
  ::shutdown(pair.client.get(), SHUT_WR);
  ASSERT_TRUE(run_until(loop, [&] { return told == 3; }));
  EXPECT_FALSE(stream->read(some).drained) << "the end is to be read";
}

TEST(TcpStream, DoesNotTakeAResetForAnEnd) {
  Loop loop;
  test::TcpPair pair;
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  ASSERT_EQ(::send(pair.client.get(), "bye", 3, 0), 3);
  set_reset_on_close(pair.client.get());
  pair.client.reset();
  Recorder events;
  bool told = false;
  events.readable = [&] { told = true; };
  stream->set_events(&events);
  ASSERT_TRUE(run_until(loop, [&] { return told; }));
  std::array<std::byte, 10> buffer;
  IoResult got = stream->read(buffer);
  EXPECT_FALSE(got.last);
  if (got.status == IoStatus::ok) got = stream->read(buffer);
  EXPECT_EQ(got.status, IoStatus::error);
}

std::uint32_t segments_received(int socket) {
  tcp_info info{};
  socklen_t size = sizeof info;
  EXPECT_EQ(::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
  return info.tcpi_segs_in;
}

TEST(TcpStream, SendsTheLastBytesAndTheEndInOnePacket) {
  Loop loop;
  test::TcpPair pair;
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  const std::uint32_t before = segments_received(pair.client.get());
  const iovec bytes = vec("bye");
  ASSERT_EQ(stream->write_last({&bytes, 1}).size, 3u);
  char buffer[10];
  ASSERT_EQ(::recv(pair.client.get(), buffer, sizeof buffer, MSG_WAITALL), 3);
  EXPECT_EQ(::recv(pair.client.get(), buffer, sizeof buffer, 0), 0);
  EXPECT_EQ(segments_received(pair.client.get()) - before, 1u);
  const iovec more = vec("x");
  EXPECT_EQ(stream->write({&more, 1}).status, IoStatus::error);
}

TEST(TcpStream, KeepsItsEndBackWhenNotAllOfTheLastBytesWereTaken) {
  Loop loop;
  test::TcpPair pair;
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  const std::string many(64 * 1024 * 1024, 'x');
  const iovec bytes = vec(many);
  const IoResult some = stream->write_last({&bytes, 1});
  ASSERT_EQ(some.status, IoStatus::ok);
  ASSERT_LT(some.size, many.size());
  std::string got(some.size, 0);
  ASSERT_EQ(::recv(pair.client.get(), got.data(), got.size(), MSG_WAITALL), static_cast<ssize_t>(got.size()));
  // Neither ended nor stuck: what is written now arrives.
  Recorder events;
  bool told = false;
  events.writable = [&] { told = true; };
  stream->set_events(&events);
  const iovec rest = vec("end");
  IoResult written = stream->write_last({&rest, 1});
  if (written.status == IoStatus::would_block) {
    ASSERT_TRUE(run_until(loop, [&] { return told; }));
    written = stream->write_last({&rest, 1});
  }
  ASSERT_EQ(written.size, 3u);
  char buffer[10];
  EXPECT_EQ(::recv(pair.client.get(), buffer, sizeof buffer, MSG_WAITALL), 3);
  EXPECT_EQ(::recv(pair.client.get(), buffer, sizeof buffer, 0), 0);
}

TEST(TcpStream, ReadsPastUrgentData) {
  Loop loop;
  test::TcpPair pair;
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  Reader reader(*stream);
  ASSERT_EQ(::send(pair.client.get(), "abc", 3, 0), 3);
  ASSERT_EQ(::send(pair.client.get(), "!", 1, MSG_OOB), 1);
  ASSERT_EQ(::send(pair.client.get(), "def", 3, 0), 3);
  EXPECT_TRUE(run_until(loop, [&] { return reader.got.ends_with("def"); })) << reader.got;
}

TEST(TcpStream, TellsWhenWritingMayGoOn) {
  Loop loop;
  test::TcpPair pair;
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  Reader reader(*stream);
  const std::string block(64 * 1024, 'x');
  std::size_t sent = 0;
  while (true) {
    const iovec data = vec(block);
    const IoResult result = stream->write({&data, 1});
    if (result.status != IoStatus::ok) {
      ASSERT_EQ(result.status, IoStatus::would_block);
      break;
    }
    sent += result.size;
  }
  EXPECT_EQ(reader.writable, 0);
  std::string sink(1 << 20, '\0');
  std::size_t got = 0;
  ASSERT_TRUE(run_until(loop,
                        [&] {
                          const ssize_t n = ::recv(pair.client.get(), sink.data(), sink.size(), MSG_DONTWAIT);
                          if (n > 0) got += static_cast<std::size_t>(n);
                          return reader.writable == 1 && got == sent;
                        }))
      << got << " of " << sent;
}

// Until the kernel takes no more.
void fill(Stream& stream) {
  const std::string block(64 * 1024, 'x');
  const iovec data = vec(block);
  while (stream.write({&data, 1}).status == IoStatus::ok) {
  }
}

int room_of(int socket) {
  int room = 0;
  socklen_t size = sizeof room;
  EXPECT_EQ(::getsockopt(socket, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &room, &size), 0);
  return room;
}

TEST(TcpStream, GivesTheKernelLittleForAReaderThatPauses) {
  Loop loop;
  test::TcpPair pair;
  const int socket = pair.server.get();
  set_connection_options(socket);
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  fill(*stream);
  int unsent = 0;
  ASSERT_EQ(::ioctl(socket, SIOCOUTQNSD, &unsent), 0);
  EXPECT_GT(unsent, 0);
  EXPECT_LE(unsent, 3 * unsent_bytes_at_first) << "a segment of loopback goes in whole";
  EXPECT_EQ(room_of(socket), unsent_bytes_at_first);
}

TEST(TcpStream, GivesTheKernelMoreForAReaderThatIsFastAndLessWhenItSlowsDown) {
  Loop loop;
  test::TcpPair pair;
  const int socket = pair.server.get();
  set_connection_options(socket);
  const int few = 128 * 1024;  // and no more by itself when it is read fast
  ::setsockopt(pair.client.get(), SOL_SOCKET, SO_RCVBUF, &few, sizeof few);
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  Recorder writer;
  writer.writable = [&] { fill(*stream); };
  stream->set_events(&writer);
  fill(*stream);
  std::string sink(1 << 20, '\0');
  EXPECT_TRUE(run_until(loop, [&] {
    while (::recv(pair.client.get(), sink.data(), sink.size(), MSG_DONTWAIT) > 0) {
    }
    return room_of(socket) == 1 << 20;
  })) << room_of(socket);
  // 2 KiB in a millisecond at most.
  EXPECT_TRUE(run_until(loop, [&] {
    (void)!::recv(pair.client.get(), sink.data(), 2048, MSG_DONTWAIT);
    return room_of(socket) <= 2 * unsent_bytes_at_first;
  })) << room_of(socket);
}

TEST(UnsentRoom, IsWhatTheReaderTakesIn50MillisecondsWithinBounds) {
  using namespace std::chrono_literals;
  constexpr int least = 64 * 1024;
  EXPECT_EQ(unsent_room(10 << 20, 1s, least), 512 * 1024);
  EXPECT_EQ(unsent_room(15 << 20, 1s, least), 512 * 1024) << "a power of two, so that it seldom changes";
  EXPECT_EQ(unsent_room(2048, 200ms, least), least);
  EXPECT_EQ(unsent_room(0, 0s, least), least);
  EXPECT_EQ(unsent_room(1 << 30, 1ms, least), 1 << 20);
  EXPECT_EQ(unsent_room(UINT64_MAX, -1s, least), 1 << 20);
  EXPECT_EQ(unsent_room(UINT64_MAX, 10min, least), 256 * 1024) << "more than 4 GiB count as 4 GiB";
}

TEST(TcpStream, ResetsWhenDestroyedInTheMiddle) {
  Loop loop;
  test::TcpPair pair;
  make_tcp_stream(loop, std::move(pair.server)).reset();
  char byte = 0;
  EXPECT_EQ(::recv(pair.client.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

TEST(TcpStream, ClosesCleanlyWhenBothEndsAreFinished) {
  Loop loop;
  test::TcpPair pair;
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  Reader reader(*stream);
  stream->finish_writes();
  ::shutdown(pair.client.get(), SHUT_WR);
  ASSERT_TRUE(run_until(loop, [&] { return reader.ended; }));
  stream.reset();
  char byte = 0;
  EXPECT_EQ(::recv(pair.client.get(), &byte, 1, 0), 0);
}

TEST(TcpStream, MayBeDestroyedFromItsOwnCallback) {
  Loop loop;
  test::TcpPair pair;
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  Recorder events;
  events.readable = [&] { stream.reset(); };
  stream->set_events(&events);
  ASSERT_EQ(::send(pair.client.get(), "x", 1, 0), 1);
  EXPECT_TRUE(run_until(loop, [&] { return stream == nullptr; }));
}

TEST(WithPrefix, GivesThePrefixFirstAndTellsTheNewOwner) {
  Loop loop;
  test::TcpPair pair;
  auto stream = make_tcp_stream(loop, std::move(pair.server));
  ASSERT_EQ(::send(pair.client.get(), "world", 5, 0), 5);
  const std::string_view start = "hello ";
  stream = with_prefix(loop, std::move(stream), std::as_bytes(std::span(start)));
  EXPECT_EQ(stream->buffered(), 6u);
  Reader reader(*stream);
  EXPECT_TRUE(run_until(loop, [&] { return reader.got == "hello world"; })) << reader.got;
  EXPECT_EQ(stream->buffered(), 0u);
}

TEST(WithPrefix, MayBeDestroyedBeforeItTold) {
  Loop loop;
  test::TcpPair pair;
  with_prefix(loop, make_tcp_stream(loop, std::move(pair.server)), {});
  EXPECT_TRUE(run_until(loop, [n = 0]() mutable { return ++n > 2; }));
}

TEST(Pipe, CarriesBytesBothWaysAndHoldsNothingWhenIdle) {
  Loop loop;
  auto [left, right] = make_pipe(loop);
  Reader at_left(*left);
  Reader at_right(*right);
  const iovec ping = vec("ping"), pong = vec("pong");
  ASSERT_EQ(left->write({&ping, 1}).size, 4u);
  ASSERT_EQ(right->write({&pong, 1}).size, 4u);
  ASSERT_TRUE(run_until(loop, [&] { return at_left.got == "pong" && at_right.got == "ping"; }));
  EXPECT_EQ(left->buffered() + right->buffered(), 0u);
  left->finish_writes();
  right->finish_writes();
  ASSERT_TRUE(run_until(loop, [&] { return at_left.ended && at_right.ended; }));
  EXPECT_EQ(at_left.end.status, IoStatus::eof);
  left.reset();
  EXPECT_EQ(at_right.end.status, IoStatus::eof);
}

TEST(Pipe, BlocksTheWriterAtItsCapacity) {
  Loop loop;
  auto [left, right] = make_pipe(loop, 1000);
  Reader at_left(*left);
  const std::string block(800, 'x');
  const iovec data = vec(block);
  EXPECT_EQ(left->write({&data, 1}).size, 800u);
  EXPECT_EQ(left->write({&data, 1}).size, 200u);
  EXPECT_EQ(left->write({&data, 1}).status, IoStatus::would_block);
  Reader at_right(*right);
  EXPECT_TRUE(run_until(loop, [&] { return at_left.writable == 1 && at_right.got.size() == 1000; }));
}

TEST(Pipe, EndsWithItsLastBytesWhenAllOfThemWereTaken) {
  Loop loop;
  auto [one, other] = make_pipe(loop, 4);
  Reader reader(*other);
  const iovec many = vec("abcdef");
  ASSERT_EQ(one->write_last({&many, 1}).size, 4u);
  ASSERT_TRUE(run_until(loop, [&] { return reader.got == "abcd"; })) << reader.got;
  EXPECT_FALSE(reader.ended);
  const iovec rest = vec("ef");
  ASSERT_EQ(one->write_last({&rest, 1}).size, 2u);
  EXPECT_TRUE(run_until(loop, [&] { return reader.ended; }));
  EXPECT_EQ(reader.got, "abcdef");
  EXPECT_EQ(reader.end.status, IoStatus::eof);
}

TEST(Pipe, PassesAResetOn) {
  Loop loop;
  auto [left, right] = make_pipe(loop);
  Reader at_right(*right);
  left.reset();
  ASSERT_TRUE(run_until(loop, [&] { return at_right.ended; }));
  EXPECT_EQ(at_right.end.status, IoStatus::error);
  EXPECT_EQ(at_right.end.error, ECONNRESET);
}

}  // namespace
}  // namespace heddle::proxy
