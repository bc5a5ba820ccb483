// SPDX-License-Identifier: Apache-2.0
// The proxy's own loop against Asio: CPU of an echo server's thread per 64-byte message with 64 connections,
// and what an idle connection keeps on the heap. Rounds alternate, so that noise hits both; ratios are what
// to look at.
#include <arpa/inet.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <thread>
#include <vector>

#include "proxy/io/loop.h"
#include "proxy/io/stream.h"
#include "tests/bench/echo.h"

namespace heddle::bench {
namespace {

using proxy::IoStatus;
using proxy::Loop;
using proxy::Stream;

constexpr int connections = 64;
constexpr int idle_connections = 2000;
constexpr std::size_t message = 64;

// What the proxy does: one buffer per worker, none per connection.
class LoopEcho final : public EchoServer {
 public:
  LoopEcho() : thread_([this] { loop_.run(); }) {}
  ~LoopEcho() override {
    std::promise<void> done;
    loop_.post([&] {
      echoes_.clear();
      done.set_value();
    });
    done.get_future().wait();
    loop_.stop();
    thread_.join();
  }
  void add(Fd socket) override {
    loop_.post([this, fd = socket.release()] {
      echoes_.push_back(std::make_unique<Echo>(*this, proxy::make_tcp_stream(loop_, Fd(fd))));
    });
  }
  double cpu_ns() override {
    clockid_t clock;
    pthread_getcpuclockid(thread_.native_handle(), &clock);
    timespec used{};
    clock_gettime(clock, &used);
    return static_cast<double>(used.tv_sec) * 1e9 + static_cast<double>(used.tv_nsec);
  }
  void settle() override {
    std::promise<void> done;
    loop_.post([&] { done.set_value(); });
    done.get_future().wait();
  }

 private:
  struct Echo final : proxy::StreamEvents {
    Echo(LoopEcho& owner, std::unique_ptr<Stream> s) : server(owner), stream(std::move(s)) {
      stream->set_events(this);
    }
    void on_readable() override {
      for (;;) {
        const auto got = stream->read(server.scratch_);
        if (got.status != IoStatus::ok) return;
        const iovec piece{server.scratch_.data(), got.size};
        stream->write(std::span(&piece, 1));
      }
    }
    void on_writable() override {}
    LoopEcho& server;
    std::unique_ptr<Stream> stream;
  };

  Loop loop_;
  std::array<std::byte, 64 * 1024> scratch_;
  std::vector<std::unique_ptr<Echo>> echoes_;
  std::thread thread_;
};

std::pair<Fd, Fd> connected_pair() {
  Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener.get(), 4) != 0) {
    std::perror("listen");
    std::exit(1);
  }
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  Fd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(client.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) {
    std::perror("connect");
    std::exit(1);
  }
  Fd server(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  const int one = 1;
  ::setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  ::setsockopt(server.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return {std::move(client), std::move(server)};
}

// Keeps one message in flight on each connection for `messages` in all; nanoseconds of the server's CPU per
// message.
double measure(EchoServer& server, int messages) {
  std::vector<Fd> clients;
  for (int i = 0; i < connections; ++i) {
    auto [client, accepted] = connected_pair();
    server.add(std::move(accepted));
    clients.push_back(std::move(client));
  }
  server.settle();
  const Fd poller(::epoll_create1(EPOLL_CLOEXEC));
  char buffer[message] = {};
  for (auto& client : clients) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = client.get();
    ::epoll_ctl(poller.get(), EPOLL_CTL_ADD, client.get(), &event);
    if (::send(client.get(), buffer, sizeof buffer, 0) != sizeof buffer) std::exit(1);
  }
  const double before = server.cpu_ns();
  epoll_event events[connections];
  for (int done = 0; done < messages;) {
    const int ready = ::epoll_wait(poller.get(), events, connections, 10'000);
    if (ready <= 0) std::exit(1);
    for (int i = 0; i < ready; ++i) {
      if (::recv(events[i].data.fd, buffer, sizeof buffer, MSG_WAITALL) != sizeof buffer) std::exit(1);
      ++done;
      ::send(events[i].data.fd, buffer, sizeof buffer, MSG_NOSIGNAL);
    }
  }
  return (server.cpu_ns() - before) / messages;
}

double idle_bytes(EchoServer& server) {
  std::vector<Fd> clients;
  std::vector<Fd> accepted;
  for (int i = 0; i < idle_connections; ++i) {
    auto [client, end] = connected_pair();
    clients.push_back(std::move(client));
    accepted.push_back(std::move(end));
  }
  const auto in_use = [] { return static_cast<double>(mallinfo2().uordblks + mallinfo2().hblkhd); };
  server.settle();
  // Other arenas than the main one count too: the server allocates on its thread.
  const double before = in_use();
  for (auto& each : accepted) server.add(std::move(each));
  server.settle();
  char buffer[message] = {};
  for (auto& client : clients) {
    ::send(client.get(), buffer, sizeof buffer, 0);
    if (::recv(client.get(), buffer, sizeof buffer, MSG_WAITALL) != sizeof buffer) std::exit(1);
  }
  return (in_use() - before) / idle_connections;
}

double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1) + 0.5)];
}

}  // namespace
}  // namespace heddle::bench

int main(int argc, char** argv) {
  using namespace heddle::bench;
  ::mallopt(M_ARENA_MAX, 1);
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 9;
  const int messages = argc > 2 ? std::atoi(argv[2]) : 200'000;
  if (rounds < 1 || messages < 1) {
    std::fprintf(stderr, "usage: %s [rounds] [messages per round]\n", argv[0]);
    return 2;
  }
  std::vector<double> loop, asio, again, ratio, same;
  for (int round = 0; round < rounds; ++round) {
    LoopEcho ours;
    const double first = measure(ours, messages);
    const auto theirs = make_asio_echo();
    const double second = measure(*theirs, messages);
    LoopEcho control;
    const double third = measure(control, messages);
    loop.push_back(first);
    asio.push_back(second);
    ratio.push_back((first + third) / 2 / second);
    same.push_back(first / third);
  }
  std::printf("CPU per 64 B message, 64 connections: loop %.0f ns, Asio %.0f ns (medians of %d rounds)\n",
              quantile(loop, .5), quantile(asio, .5), rounds);
  std::printf("loop/Asio %.3f [%.3f-%.3f]   A/A loop/loop %.3f [%.3f-%.3f]   (median [p25-p75])\n",
              quantile(ratio, .5), quantile(ratio, .25), quantile(ratio, .75), quantile(same, .5),
              quantile(same, .25), quantile(same, .75));
  LoopEcho ours;
  const double ours_idle = idle_bytes(ours);
  const auto theirs = make_asio_echo();
  const double theirs_idle = idle_bytes(*theirs);
  std::printf("heap per idle connection (%d of them): loop %.0f B, Asio %.0f B\n", idle_connections,
              ours_idle, theirs_idle);
  return 0;
}
