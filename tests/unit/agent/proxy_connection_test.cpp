// SPDX-License-Identifier: Apache-2.0
#include "agent/proxy_link/connection.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "agent/proxy_link/links.h"
#include "api/node.pb.h"

namespace heddle::agent {
namespace {

class ProxyConnectionTest : public ::testing::Test {
 protected:
  ProxyConnectionTest() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) throw std::runtime_error("pair");
    ours_ = Fd(ends[0]);
    theirs_ = Fd(ends[1]);
    const int flags = ::fcntl(ours_.get(), F_GETFL);
    ::fcntl(ours_.get(), F_SETFL, flags | O_NONBLOCK);
  }

  Loop loop_;
  Fd ours_;
  Fd theirs_;
};

TEST_F(ProxyConnectionTest, LetsOthersRunBetweenTheMessagesOfAnEagerReader) {
  constexpr int all = 20'000;
  Connection connection(loop_, std::move(ours_), [](UnixMessage) {}, [](const Error&) {});
  int built = 0;
  for (int i = 0; i < all; ++i) {
    ASSERT_TRUE(connection.send([&]() -> std::optional<OutgoingMessage> {
      ++built;
      return OutgoingMessage{"message", {}, {}};
    }));
  }
  ASSERT_LT(built, all) << "the socket took everything; nothing is left to test";
  int before = built;
  int most = 0;
  std::function<void()> look = [&] {
    most = std::max(most, built - before);
    before = built;
    if (built == all) {
      loop_.stop();
    } else {
      loop_.post(look);
    }
  };
  loop_.post(look);
  std::atomic<int> received{0};
  std::thread reader([&] {
    while (receive_unix(theirs_.get())) ++received;
  });
  loop_.run();
  EXPECT_LE(most, 64);
  while (received < all) std::this_thread::yield();
  ::shutdown(theirs_.get(), SHUT_RDWR);
  reader.join();
}

TEST_F(ProxyConnectionTest, DropsAMessageThatIsTooLargeInsteadOfTheConversation) {
  bool closed = false;
  Connection connection(loop_, std::move(ours_), [](UnixMessage) {}, [&](const Error&) { closed = true; });
  const auto say = [&](std::string bytes) {
    ASSERT_TRUE(connection.send(
        [&]() -> std::optional<OutgoingMessage> { return OutgoingMessage{std::move(bytes), {}, {}}; }));
  };
  say(std::string(max_unix_message_bytes + 1, 'x'));
  say("the next");
  const auto next = receive_unix(theirs_.get());
  ASSERT_TRUE(next) << next.error().message();
  EXPECT_EQ(next->bytes, "the next");
  loop_.post([&] { loop_.stop(); });
  loop_.run();
  EXPECT_FALSE(closed);
}

TEST(ProxyLinksTest, DisconnectsAProxyThatNeverGreets) {
  const std::string path = "/tmp/heddle-links-" + std::to_string(::getpid()) + ".sock";
  const std::shared_ptr<void> cleanup(nullptr, [&](void*) { std::filesystem::remove(path); });
  Loop loop;
  ProxyLinks::Options options;
  options.path = path;
  options.proxy_uid = ::getuid();
  options.greeting_deadline = std::chrono::milliseconds(100);
  ProxyLinks::Owner owner;
  owner.held_end = [] {};
  owner.when_adopted = [](const std::function<void()>& then) { then(); };
  ProxyLinks links(loop, std::move(options), std::move(owner));
  ASSERT_TRUE(links.listen());
  links.start_snapshots();
  const auto silent = connect_unix(path, false);
  const auto greeting = connect_unix(path, false);
  ASSERT_TRUE(silent && greeting);
  node::FromProxy message;
  message.mutable_hello()->set_version("1");
  ASSERT_TRUE(send_unix(greeting->get(), message.SerializeAsString()));
  message.mutable_held_end();
  ASSERT_TRUE(send_unix(greeting->get(), message.SerializeAsString()));
  std::thread waiting([&] {
    EXPECT_FALSE(receive_unix(silent->get())) << "there is nothing to be told";
    loop.stop();
  });
  loop.run();
  waiting.join();
  EXPECT_EQ(links.connected(), 1u) << "the one that greeted stays";
}

}  // namespace
}  // namespace heddle::agent
