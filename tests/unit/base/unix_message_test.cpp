// SPDX-License-Identifier: Apache-2.0
#include "base/io/unix_message.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace heddle {
namespace {

struct Pair {
  Fd a, b;
};

Pair make_pair(int flags = 0) {
  int fds[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0, fds), 0);
  return {Fd(fds[0]), Fd(fds[1])};
}

TEST(UnixMessage, KeepsBoundariesAndCarriesDescriptors) {
  auto pair = make_pair();
  int pipe_fds[2];
  ASSERT_EQ(::pipe2(pipe_fds, O_CLOEXEC), 0);
  const Fd read_end(pipe_fds[0]);
  Fd write_end(pipe_fds[1]);
  ASSERT_TRUE(send_unix(pair.a.get(), "first", {write_end.get()}));
  ASSERT_TRUE(send_unix(pair.a.get(), "second"));
  write_end.reset();

  auto first = receive_unix(pair.b.get());
  ASSERT_TRUE(first) << first.error().message();
  EXPECT_EQ(first->bytes, "first");
  ASSERT_EQ(first->fds.size(), 1u);
  EXPECT_EQ(::fcntl(first->fds[0].get(), F_GETFD), FD_CLOEXEC);
  ASSERT_EQ(::write(first->fds[0].get(), "x", 1), 1);
  char byte = 0;
  ASSERT_EQ(::read(read_end.get(), &byte, 1), 1);
  auto second = receive_unix(pair.b.get());
  ASSERT_TRUE(second);
  EXPECT_EQ(second->bytes, "second");
  EXPECT_TRUE(second->fds.empty());
}

TEST(UnixMessage, CarriesTheLargestMessageAndRefusesALarger) {
  auto pair = make_pair();
  std::vector<int> fds(max_unix_message_fds, pair.a.get());
  ASSERT_TRUE(send_unix(pair.a.get(), std::string(max_unix_message_bytes, 'x'), fds));
  auto message = receive_unix(pair.b.get());
  ASSERT_TRUE(message) << message.error().message();
  EXPECT_EQ(message->bytes.size(), max_unix_message_bytes);
  EXPECT_EQ(message->fds.size(), max_unix_message_fds);
  EXPECT_FALSE(send_unix(pair.a.get(), std::string(max_unix_message_bytes + 1, 'x')));
  fds.push_back(pair.a.get());
  EXPECT_FALSE(send_unix(pair.a.get(), "x", fds));
}

TEST(UnixMessage, LargerThanTheReceiverTakesIsAProtocolErrorAndLeaksNothing) {
  auto pair = make_pair();
  const std::string large(max_unix_message_bytes + 10, 'x');
  ASSERT_EQ(::send(pair.a.get(), large.data(), large.size(), 0), static_cast<ssize_t>(large.size()));
  auto message = receive_unix(pair.b.get());
  ASSERT_FALSE(message);
  EXPECT_EQ(message.error().code, make_error_code(Errc::protocol));
}

TEST(UnixMessage, SaysWouldBlockAndClosedApart) {
  auto pair = make_pair(SOCK_NONBLOCK);
  auto nothing = receive_unix(pair.b.get());
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code.value(), EAGAIN);
  pair.a.reset();
  auto closed = receive_unix(pair.b.get());
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().code, make_error_code(Errc::closed));
}

class UnixListener : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/heddle-unix-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(UnixListener, TellsWhoThePeerIs) {
  const auto path = folder_ + "/s";
  auto listener = listen_unix(path, 0600, false);
  ASSERT_TRUE(listener) << listener.error().message();
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  auto client = connect_unix(path, true);
  ASSERT_TRUE(client) << client.error().message();
  auto server = accept_unix(*listener, true);
  ASSERT_TRUE(server) << server.error().message();
  auto peer = peer_credentials(server->get());
  ASSERT_TRUE(peer) << peer.error().message();
  EXPECT_EQ(peer->pid, ::getpid());
  EXPECT_EQ(peer->uid, ::geteuid());
}

TEST_F(UnixListener, ReplacesAStaleSocketButNotALiveOne) {
  const auto path = folder_ + "/s";
  {
    auto dead = listen_unix(path, 0600, false);
    ASSERT_TRUE(dead);
    auto second = listen_unix(path, 0600, false);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, make_error_code(Errc::already_exists));
  }
  EXPECT_TRUE(listen_unix(path, 0600, false));
}

TEST_F(UnixListener, RefusesAPathTooLongForTheKernelWithAdvice) {
  auto listener = listen_unix(folder_ + "/" + std::string(120, 'x'), 0600, false);
  ASSERT_FALSE(listener);
  EXPECT_NE(listener.error().message().find("--run-dir"), std::string::npos) << listener.error().message();
}

}  // namespace
}  // namespace heddle
