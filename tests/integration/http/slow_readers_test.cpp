// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include "proxy/http/h2_client.h"
#include "tests/integration/http/proxy_lab.h"
#include "tests/unit/http/in_memory.h"

namespace heddle::proxy {
namespace {

constexpr std::size_t limit = 1024 * 1024;
constexpr auto patience = std::chrono::seconds(30);

Fd connect_to(const SocketAddress& address, int receive_buffer) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (receive_buffer > 0)
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  sockaddr_storage storage{};
  const socklen_t size = address.to_sockaddr(storage);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0) return Fd();
  ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  return socket;
}

// Pods with a small limit, clients that first read nothing of large answers and then everything.
class SlowReaders : public ::testing::Test {
 protected:
  SlowReaders() {
    for (const PodRef& pod : {lab_.client_pod, lab_.server_pod}) pod->load->limits.buffered_bytes = limit;
    file_ = nginx_.folder() + "/large";
  }
  void make_file(std::size_t size) {
    ASSERT_EQ(run_command("truncate -s " + std::to_string(size) + " " + file_).status, 0);
  }
  // Of both pods, the most that was ever seen.
  void look() {
    for (const PodRef& pod : {lab_.client_pod, lab_.server_pod})
      most_ = std::max(most_, pod->load->buffered_bytes.load());
  }
  bool look_until(const std::function<bool()>& holds) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!holds() && std::chrono::steady_clock::now() < end) look();
    return holds();
  }
  std::size_t held() const {
    return lab_.client_pod->load->buffered_bytes + lab_.server_pod->load->buffered_bytes;
  }
  void read_everything(std::vector<Fd>& clients, std::size_t size_of_each);

  Nginx nginx_{"location /file { alias /; }"};
  ProxyLab lab_;
  std::string file_;
  std::size_t most_ = 0;
};

void SlowReaders::read_everything(std::vector<Fd>& clients, std::size_t size_of_each) {
  std::vector<pollfd> polled;
  for (const Fd& client : clients) polled.push_back({client.get(), POLLIN, 0});
  std::vector<std::size_t> got(clients.size());
  std::size_t ended = 0;
  std::vector<char> buffer(256 * 1024);
  const auto end = std::chrono::steady_clock::now() + patience;
  while (ended < clients.size() && std::chrono::steady_clock::now() < end) {
    ASSERT_GE(::poll(polled.data(), polled.size(), 1000), 0);
    look();
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if ((polled[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
      const ssize_t size = ::recv(polled[i].fd, buffer.data(), buffer.size(), 0);
      if (size > 0) got[i] += static_cast<std::size_t>(size);
      if (size > 0 || (size < 0 && errno == EAGAIN)) continue;
      EXPECT_EQ(size, 0) << "reset";
      polled[i].fd = -1;
      ++ended;
    }
  }
  EXPECT_EQ(ended, clients.size());
  for (const std::size_t each : got) EXPECT_GT(each, size_of_each) << "the file and a head";
}

constexpr std::size_t file_size = 6'000'000;  // more than kernels take for a client that reads nothing

TEST_F(SlowReaders, OfHttp1OverTheMeshStayWithinThePodsLimitAndGetEverything) {
  make_file(file_size);
  const auto far = lab_.listen_mesh(nginx_.address());
  const auto entry = lab_.listen_outbound(lab_.meshed({far}), Protocol::http1);
  std::vector<Fd> clients;
  for (int i = 0; i < 64; ++i) {
    clients.push_back(connect_to(entry, 8192));
    ASSERT_TRUE(clients.back());
    const std::string ask = "GET /file" + file_ + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    ASSERT_EQ(::send(clients.back().get(), ask.data(), ask.size(), 0), static_cast<ssize_t>(ask.size()));
  }
  EXPECT_TRUE(look_until([&] { return held() >= limit / 2; })) << "what is held is not counted: " << held();
  read_everything(clients, file_size);
  EXPECT_LE(most_, limit);
  EXPECT_TRUE(look_until([&] { return held() == 0; })) << held();
}

TEST_F(SlowReaders, OfHttp1FromAnUnmeshedServerStayWithinThePodsLimitAndGetEverything) {
  make_file(file_size);
  const auto entry = lab_.listen_outbound(lab_.plain(nginx_.address()), Protocol::http1);
  std::vector<Fd> clients;
  for (int i = 0; i < 64; ++i) {
    clients.push_back(connect_to(entry, 8192));
    ASSERT_TRUE(clients.back());
    const std::string ask = "GET /file" + file_ + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    ASSERT_EQ(::send(clients.back().get(), ask.data(), ask.size(), 0), static_cast<ssize_t>(ask.size()));
  }
  EXPECT_TRUE(look_until([&] { return held() >= limit / 2; })) << "what is held is not counted: " << held();
  read_everything(clients, file_size);
  EXPECT_LE(most_, limit);
  EXPECT_TRUE(look_until([&] { return held() == 0; })) << held();
}

struct Watched final : http::H2ClientOwner {
  void client_available(http::H2Client&) override {}
  void client_closed(http::H2Client&) override { closed = true; }
  bool closed = false;
};

TEST_F(SlowReaders, OfManyHttp2StreamsStayWithinThePodsLimitAndGetEverything) {
  constexpr std::size_t size = 400'000;
  make_file(size);
  Nginx nginx("location /file { alias /; }", "http2");
  const auto far = lab_.listen_mesh(nginx.address());
  const auto entry = lab_.listen_outbound(lab_.meshed({far}), Protocol::http2);
  http::TestLoop loop;
  Watched owner;
  http::H2Settings settings;
  settings.connection_window = 64 << 20;
  http::H2Client client(loop.engine, make_tcp_stream(loop.loop, connect_to(entry, 0)), owner, settings,
                        false);
  ASSERT_TRUE(loop.until([&] { return client.available(); }));
  http::RequestHead head;
  head.version = http::Version::http2;
  head.set_method("GET");
  head.set_target("/file" + file_);
  head.set_authority("a");
  std::vector<std::unique_ptr<http::Asker>> askers;
  for (int i = 0; i < 90; ++i) {
    askers.push_back(std::make_unique<http::Asker>());
    askers.back()->consume = false;
    askers.back()->peer = client.start(head, true, *askers.back());
  }
  EXPECT_TRUE(loop.until([&] {
    look();
    return held() >= limit / 2;
  })) << "what is held is not counted: "
      << held();
  for (auto& asker : askers) {
    asker->consume = true;
    if (!asker->over) asker->peer->consumed(asker->content.size());
  }
  ASSERT_TRUE(loop.until(
      [&] {
        look();
        for (auto& asker : askers) {
          if (!asker->over) return false;
        }
        return true;
      },
      patience));
  for (auto& asker : askers) {
    EXPECT_FALSE(asker->aborted);
    EXPECT_EQ(asker->status, 200);
    EXPECT_EQ(asker->content.size(), size);
  }
  for (const PodRef& pod : {lab_.client_pod, lab_.server_pod}) EXPECT_EQ(pod->load->streams_refused, 0u);
  EXPECT_LE(most_, limit);
  EXPECT_FALSE(owner.closed);
  client.close();
  EXPECT_TRUE(look_until([&] { return held() == 0; })) << held();
}

// A server that takes nothing of what is sent to it, until it closes all of its connections, later ones too.
class DeafServer {
 public:
  explicit DeafServer(ProxyLab& lab)
      : loop_(lab.server().loop),
        address_(lab.listen(lab.server(), [kept = kept_](Worker&, SocketAddress, auto stream) {
          if (kept->closed) return;
          const int small = 4096;  // kernels hold less for each
          ::setsockopt(stream->descriptor(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
          kept->streams.push_back(std::move(stream));
        })) {}
  const SocketAddress& address() const { return address_; }
  void close() {
    loop_.post([kept = kept_] {
      kept->closed = true;
      kept->streams.clear();
    });
  }

 private:
  struct Kept {
    std::vector<std::unique_ptr<Stream>> streams;
    bool closed = false;
  };
  std::shared_ptr<Kept> kept_ = std::make_shared<Kept>();
  Loop& loop_;
  SocketAddress address_;
};

TEST_F(SlowReaders, ThatAreServersStopUploadsWithinThePodsLimit) {
  DeafServer server(lab_);
  const auto entry = lab_.listen_outbound(lab_.plain(server.address()), Protocol::http1);
  std::vector<Fd> clients;
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n";
  for (int i = 0; i < 64; ++i) {
    clients.push_back(connect_to(entry, 0));
    ASSERT_EQ(::send(clients.back().get(), head.data(), head.size(), 0), static_cast<ssize_t>(head.size()));
  }
  const std::string block(256 * 1024, 'u');
  // As much as anybody takes, and on and on when the account is as full as it gets.
  std::size_t rounds_since_full = 0;
  const auto end = std::chrono::steady_clock::now() + patience;
  while (rounds_since_full < 100 && std::chrono::steady_clock::now() < end) {
    for (const Fd& client : clients) (void)::send(client.get(), block.data(), block.size(), 0);
    look();
    if (held() >= limit / 2) ++rounds_since_full;
  }
  EXPECT_LE(most_, limit);
  EXPECT_GE(most_, limit / 2);
  server.close();
  EXPECT_TRUE(look_until([&] { return held() == 0; })) << held();
}

}  // namespace
}  // namespace heddle::proxy
