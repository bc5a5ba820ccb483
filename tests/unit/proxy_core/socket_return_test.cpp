// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <array>

#include "tests/unit/proxy_core/rig.h"

namespace heddle::proxy {
namespace {

// A pod's dialled connections and what becomes of their sockets.
class SocketReturn : public ::testing::Test {
 protected:
  struct Connection {
    std::unique_ptr<Stream> stream;
    Fd peer;
    ino_t socket = 0;  // tells sockets apart, whatever their descriptors
  };

  void SetUp() override {
    ASSERT_TRUE(rig_.run_until([&] { return reserved() == 1; })) << reserved() << " in reserve";
    connect();
    ASSERT_TRUE(rig_.run_until([&] { return reserved() == 4; })) << reserved() << " in reserve";
  }
  std::size_t reserved() const { return rig_.dialer->reserved(1, false); }

  Connection connect() {
    Connection out;
    DialRequest request;
    request.pod = pod_;
    request.to = server_.address;
    const auto dial = rig_.dialer->dial(request, [&](Result<std::unique_ptr<Stream>> result) {
      EXPECT_TRUE(result) << result.error().message();
      if (result) out.stream = std::move(*result);
    });
    EXPECT_TRUE(rig_.run_until([&] {
      if (!out.peer) out.peer = server_.accept();
      return out.stream && out.peer;
    }));
    struct stat info{};
    if (out.stream) ::fstat(out.stream->descriptor(), &info);
    out.socket = info.st_ino;
    return out;
  }
  // A connection, and room for its socket in the reserve.
  Connection connect_with_room() {
    Connection out = connect();
    EXPECT_TRUE(rig_.run_until([&] {
      if (reserved() >= 4) others_.push_back(connect());
      return reserved() == 3;
    })) << reserved()
        << " in reserve";
    return out;
  }
  // Reads on until the peer's end.
  void read_to_end(Connection& connection) {
    std::array<std::byte, 64> bytes;
    IoResult got;
    EXPECT_TRUE(rig_.run_until([&] {
      got = connection.stream->read(bytes);
      return got.status != IoStatus::would_block && got.status != IoStatus::ok;
    }));
    EXPECT_EQ(got.status, IoStatus::eof);
  }
  // Whether a connection made now has the socket of an earlier one. All of the reserve is looked at.
  bool comes_back(ino_t socket) {
    std::vector<Connection> made;
    for (std::size_t left = reserved(); left > 0; --left) {
      made.push_back(connect());
      if (made.back().socket == socket) return true;
    }
    return false;
  }

  test::Rig rig_;
  test::Server server_;
  PodRef pod_ = rig_.add_pod(1, "10.0.0.1");
  std::vector<Connection> others_;
};

TEST_F(SocketReturn, OfAConnectionThatThePeerEndedFirst) {
  Connection connection = connect_with_room();
  connection.peer.reset();
  read_to_end(connection);
  connection.stream->finish_writes();
  EXPECT_TRUE(comes_back(connection.socket));
}

TEST_F(SocketReturn, OfAConnectionThatWeEndedFirst) {
  Connection connection = connect_with_room();
  connection.stream->finish_writes();
  ASSERT_TRUE(rig_.run_until([&] { return test::read_all(connection.peer.get()) == "<end>"; }));
  connection.peer.reset();
  read_to_end(connection);
  connection.stream.reset();
  EXPECT_TRUE(comes_back(connection.socket));
}

TEST_F(SocketReturn, CarriesTheNextConnectionAsANewOneWould) {
  Connection first = connect_with_room();
  ASSERT_EQ(::send(first.peer.get(), "old", 3, 0), 3);
  first.peer.reset();
  read_to_end(first);
  first.stream->finish_writes();
  Connection second = connect();
  while (second.socket != first.socket && reserved() > 0) second = connect();
  ASSERT_EQ(second.socket, first.socket);
  ASSERT_EQ(::send(second.peer.get(), "new", 3, 0), 3);
  std::array<std::byte, 64> bytes;
  std::string got;
  ASSERT_TRUE(rig_.run_until([&] {
    const IoResult read = second.stream->read(bytes);
    if (read.status == IoStatus::ok) got.append(reinterpret_cast<const char*>(bytes.data()), read.size);
    return !got.empty();
  }));
  EXPECT_EQ(got, "new");
  const iovec hello{const_cast<char*>("hello"), 5};
  ASSERT_EQ(second.stream->write({&hello, 1}).size, 5u);
  EXPECT_TRUE(rig_.run_until([&] { return test::read_all(second.peer.get()) == "hello"; }));
}

TEST_F(SocketReturn, NotAfterAReset) {
  Connection connection = connect_with_room();
  const iovec hello{const_cast<char*>("hello"), 5};
  ASSERT_EQ(connection.stream->write({&hello, 1}).size, 5u);
  connection.peer.reset();  // unread bytes make it one
  std::array<std::byte, 64> bytes;
  ASSERT_TRUE(rig_.run_until([&] { return connection.stream->read(bytes).status == IoStatus::error; }));
  connection.stream.reset();
  EXPECT_FALSE(comes_back(connection.socket));
}

TEST_F(SocketReturn, NotBeforeThePeerHasEnded) {
  Connection connection = connect_with_room();
  connection.stream->finish_writes();
  connection.stream->let_go();
  connection.stream.reset();
  EXPECT_FALSE(comes_back(connection.socket));
}

TEST_F(SocketReturn, NotWhileThePeerHasBytesToFetch) {
  Connection connection = connect_with_room();
  // More than the peer's kernel takes: the rest, and the end, wait in ours.
  const std::vector<char> much(64 << 20, 'x');
  const iovec data{const_cast<char*>(much.data()), much.size()};
  std::size_t written = 0;
  while (true) {
    const IoResult sent = connection.stream->write({&data, 1});
    if (sent.status != IoStatus::ok) break;
    written += sent.size;
  }
  ::shutdown(connection.peer.get(), SHUT_WR);
  read_to_end(connection);
  connection.stream->finish_writes();
  EXPECT_FALSE(comes_back(connection.socket));
  std::size_t fetched = 0;
  EXPECT_TRUE(rig_.run_until([&] {
    const std::string bytes = test::read_all(connection.peer.get());
    fetched += bytes.size();
    return bytes.ends_with("<end>");
  })) << fetched
      << " of " << written;
  EXPECT_EQ(fetched, written + std::string("<end>").size()) << "all of it came, and the end";
}

TEST_F(SocketReturn, NotToAnotherAgent) {
  Connection connection = connect_with_room();
  rig_.dialer->agent_ready();
  connection.peer.reset();
  read_to_end(connection);
  connection.stream->finish_writes();
  EXPECT_FALSE(comes_back(connection.socket));
}

TEST_F(SocketReturn, NotToAnotherPodWithTheId) {
  Connection connection = connect_with_room();
  rig_.add_pod(1, "10.0.0.2", [](Pod& pod) { pod.netns_cookie = 77; });
  connection.peer.reset();
  read_to_end(connection);
  connection.stream->finish_writes();
  EXPECT_FALSE(comes_back(connection.socket));
}

TEST_F(SocketReturn, NotWhenThePodIsRedirectedInAnotherWaySince) {
  Connection connection = connect_with_room();
  std::vector<Connection> before;
  for (std::size_t left = reserved(); left > 1; --left) before.push_back(connect());
  const int asked = rig_.requests;
  rig_.add_pod(1, "10.0.0.1", [](Pod& pod) { pod.interception = Interception::iptables; });
  EXPECT_EQ(reserved(), 0u) << "what was made for the other way is closed";
  EXPECT_EQ(rig_.requests, asked + 1);
  ASSERT_TRUE(rig_.run_until([&] { return reserved() > 0; }));
  before.push_back(connect());
  connection.peer.reset();
  read_to_end(connection);
  connection.stream->finish_writes();
  EXPECT_FALSE(comes_back(connection.socket));
}

TEST_F(SocketReturn, NotBeyondTheReserve) {
  std::vector<Connection> many;
  for (int i = 0; i < 100; ++i) many.push_back(connect());
  for (Connection& each : many) {
    each.peer.reset();
    read_to_end(each);
    each.stream->finish_writes();
  }
  EXPECT_LE(reserved(), 64u);
}

TEST_F(SocketReturn, IsClosedWhenTheDialerIsGone) {
  Connection connection = connect_with_room();
  connection.peer.reset();
  read_to_end(connection);
  rig_.worker.dialer.reset();
  connection.stream->finish_writes();  // nobody to take it
  EXPECT_EQ(connection.stream->descriptor(), -1);
}

}  // namespace
}  // namespace heddle::proxy
