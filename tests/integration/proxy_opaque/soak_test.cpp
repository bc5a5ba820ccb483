// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include <random>

#include "proxy/http/serve.h"
#include "proxy/listen/acceptor.h"
#include "proxy/outbound/outbound.h"
#include "tests/unit/proxy_core/rig.h"

namespace heddle::proxy {

// Nothing here speaks HTTP.
void serve_outbound_http(Worker&, OutboundConnection, Protocol, std::unique_ptr<Stream>) {
  std::abort();
}
void serve_inbound_http(Worker&, InboundConnection, Protocol, std::unique_ptr<Stream>) {
  std::abort();
}
void serve_inbound_mesh(Worker&, InboundConnection, std::unique_ptr<Stream>) {
  std::abort();
}

namespace {

std::size_t open_descriptors() {
  std::size_t count = 0;
  DIR* folder = ::opendir("/proc/self/fd");
  while (folder != nullptr && ::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

Fd dial(const SocketAddress& to, int receive_buffer = 0) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (receive_buffer > 0)
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  sockaddr_storage address{};
  const socklen_t size = to.to_sockaddr(address);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) socket.reset();
  return socket;
}

// Sends back what comes, then ends.
void echo(Fd socket) {
  std::string buffer(65536, '\0');
  while (true) {
    const ssize_t got = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
    if (got <= 0) return;
    for (ssize_t sent = 0; sent < got;) {
      const ssize_t n =
          ::send(socket.get(), buffer.data() + sent, static_cast<std::size_t>(got - sent), MSG_NOSIGNAL);
      if (n <= 0) return;
      sent += n;
    }
  }
}

// One client's connection; says what went wrong, or nothing.
class Client {
 public:
  Client(const SocketAddress& proxy, unsigned seed)
      : random_(seed), slow_(random_() % 8 == 0), resets_(random_() % 8 == 1) {
    socket_ = dial(proxy, slow_ ? 4096 : 0);
    const std::size_t size = random_() % 4 == 0 ? random_() % 2'000'000 : random_() % 20'000;
    data_.resize(size + 1);
    for (char& byte : data_) byte = static_cast<char>(random_());
    data_[0] = 1;  // no HTTP
  }

  std::string run() {
    if (!socket_) return "cannot connect";
    const std::size_t stop = resets_ ? random_() % data_.size() : data_.size();
    while (true) {
      const bool sending = sent_ < stop;
      pollfd ready{socket_.get(), static_cast<short>(POLLIN | (sending ? POLLOUT : 0)), 0};
      if (::poll(&ready, 1, 30'000) == 0)
        return "nothing moves: sent " + std::to_string(sent_) + " got " + std::to_string(got_.size());
      if (sending && (ready.revents & POLLOUT) != 0 && !send_some(stop)) return "send failed";
      if (resets_ && sent_ >= stop) {
        set_reset_on_close(socket_.get());
        return {};
      }
      if ((ready.revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
      const ssize_t n = ::recv(socket_.get(), buffer_.data(), slow_ ? 3000 : buffer_.size(), MSG_DONTWAIT);
      if (n < 0 && errno == EAGAIN) continue;
      if (n < 0) return std::string("receive: ") + std::strerror(errno);
      if (n == 0)
        return got_ == data_
                   ? ""
                   : "corrupt or cut: " + std::to_string(got_.size()) + " of " + std::to_string(data_.size());
      got_.append(buffer_.data(), static_cast<std::size_t>(n));
    }
  }

 private:
  bool send_some(std::size_t stop) {
    const std::size_t part = std::min<std::size_t>(stop - sent_, 1 + random_() % 100'000);
    const ssize_t n = ::send(socket_.get(), data_.data() + sent_, part, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0) return errno == EAGAIN;
    sent_ += static_cast<std::size_t>(n);
    if (sent_ == data_.size()) ::shutdown(socket_.get(), SHUT_WR);
    return true;
  }

  std::mt19937 random_;
  const bool slow_, resets_;
  Fd socket_;
  std::string data_, got_;
  std::size_t sent_ = 0;
  std::array<char, 65536> buffer_;
};

struct Front final : IoHandler {
  std::function<void()> accept;
  void on_io(std::uint32_t) override { accept(); }
};

// The proxy runs on the test's thread; servers and clients on others.
struct Soak : testing::Test {
  Soak() {
    pod = rig.add_pod(1, "127.0.0.9");
    front.accept = [this] {
      while (Fd socket = entrance.accept()) {
        serve_outbound(rig.worker, pod, {}, server.address,
                       make_tcp_stream(rig.worker.loop, std::move(socket)));
      }
    };
    EXPECT_TRUE(rig.worker.loop.add(entrance.listener.get(), EPOLLIN, front));
    // Blocking again: its thread waits in accept.
    ::fcntl(server.listener.get(), F_SETFL, 0);
    serving = std::thread([this] { serve(); });
  }
  ~Soak() override {
    over = true;
    dial(server.address);
    serving.join();
  }
  void serve() {
    std::vector<std::thread> running;
    while (!over) {
      Fd socket(::accept4(server.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!socket) continue;
      running.emplace_back(
          [carried = std::make_shared<Fd>(std::move(socket))] { echo(std::move(*carried)); });
      if (running.size() < 512) continue;
      for (auto& each : running) each.join();
      running.clear();
    }
    for (auto& each : running) each.join();
  }

  test::Rig rig;
  PodRef pod;
  test::Server entrance, server;
  Front front;
  std::thread serving;
  std::atomic<bool> over{false};
};

TEST_F(Soak, CarriesEveryByteAndLeaksNothing) {
  const std::size_t before = open_descriptors();
  constexpr unsigned threads = 24;
  std::atomic<unsigned> next{0}, finished{0};
  std::mutex mutex;
  std::vector<std::string> wrong;
  std::vector<std::thread> clients;
  for (unsigned i = 0; i < threads; ++i) {
    clients.emplace_back([&] {
      for (unsigned n = next++; n < HEDDLE_SOAK_CONNECTIONS; n = next++) {
        const std::string problem = std::make_unique<Client>(entrance.address, n)->run();
        if (problem.empty()) continue;
        const std::lock_guard lock(mutex);
        wrong.push_back("connection " + std::to_string(n) + ": " + problem);
      }
      ++finished;
    });
  }
  std::size_t most_held = 0;
  const bool ended = rig.run_until(
      [&] {
        most_held = std::max(most_held, pod->load->buffered_bytes.load());
        return finished == threads && rig.worker.connections->size() == 0;
      },
      std::chrono::minutes(9));
  for (auto& each : clients) each.join();
  EXPECT_TRUE(ended) << rig.worker.connections->size() << " connections are left";
  for (const auto& each : wrong) ADD_FAILURE() << each;
  EXPECT_EQ(pod->load->connections.load(), 0u);
  EXPECT_EQ(pod->load->buffered_bytes.load(), 0u);
  EXPECT_LE(most_held, threads * 2 * 64u * 1024);
  // The reserve of sockets may have grown.
  EXPECT_LE(open_descriptors(), before + 140);
}

TEST_F(Soak, SurvivesTheEndOfDescriptors) {
  rlimit old{};
  ::getrlimit(RLIMIT_NOFILE, &old);
  // Another process' worth of clients would need their own limit: they are made before it falls.
  std::vector<Fd> clients;
  rig.run_until([&] { return rig.dialer->reserved(1, false) > 0; });
  AcceptPause pause(rig.worker.loop);
  auto listeners = std::make_shared<PodListeners>();
  test::Server other;
  listeners->outbound = *other.listener.duplicate();
  listeners->inbound = *test::Server().listener.duplicate();
  auto unreachable = std::make_shared<Pod>(*pod);
  Acceptor acceptor(rig.worker, pause, unreachable, listeners);
  int pauses = 0;
  pause.pause = [&] {
    ++pauses;
    acceptor.pause();
  };
  pause.resume = [&] { ASSERT_TRUE(acceptor.listen()); };
  ASSERT_TRUE(acceptor.listen());
  for (int i = 0; i < 20; ++i) clients.push_back(dial(other.address));
  rlimit none = old;
  none.rlim_cur = 3;
  ::setrlimit(RLIMIT_NOFILE, &none);
  const auto begin = Loop::Clock::now();
  rig.run_until([] { return false; }, std::chrono::milliseconds(350));
  ::setrlimit(RLIMIT_NOFILE, &old);
  EXPECT_GE(pauses, 2) << "it did not run out, or did not try again";
  EXPECT_LE(pauses, 2 + (Loop::Clock::now() - begin) / std::chrono::milliseconds(100)) << "it spins";
  // Afterwards they are accepted (and, having no original destination here, reset).
  EXPECT_TRUE(rig.run_until([&] {
    return std::all_of(clients.begin(), clients.end(),
                       [](const Fd& each) { return test::read_all(each.get()).ends_with("<reset>"); });
  }));
}

}  // namespace
}  // namespace heddle::proxy
