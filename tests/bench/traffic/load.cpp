// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/traffic/load.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/traffic/exchange.h"

namespace heddle::bench {
namespace {

constexpr double second = 1e9;
constexpr std::uint64_t most_errors = 1000;
// After the end, for answers that are on their way.
constexpr std::uint64_t patience_ns = 3'000'000'000;

std::string http1_request(const SocketAddress& to, const char* more) {
  return "GET / HTTP/1.1\r\nhost: " + to.to_string() + "\r\nuser-agent: traffic\r\naccept: */*\r\n" + more +
         "\r\n";
}

std::uint64_t after(std::uint64_t start, double seconds) {
  return start + static_cast<std::uint64_t>(seconds * second);
}

using MakeAnswer = std::function<std::unique_ptr<Answer>()>;

// Kept connections, each with one request at a time.
class KeptLoad {
 public:
  KeptLoad(const Load& load, std::string request, const MakeAnswer& make_answer)
      : load_(load), request_(std::move(request)) {
    events_.connected = [this](Exchange& exchange) {
      if (load_.rate == 0) exchange.send(now_ns());
    };
    events_.answered = [this](Exchange& exchange) {
      const auto now = now_ns();
      figures_.latency.add(now - exchange.due());
      ++figures_.requests;
      if (load_.rate == 0) exchange.send(now);
    };
    events_.broken = [this](Exchange& exchange, const char* why) {
      figures_.failed(why);
      if (figures_.errors < most_errors) exchange.connect();
    };
    for (int i = 0; i < load_.connections; ++i)
      exchanges_.push_back(std::make_unique<Exchange>(poller_, load_.to, request_, make_answer(), events_));
  }

  Figures run() {
    for (auto& exchange : exchanges_) exchange->connect();
    const auto start = now_ns();
    spread(start);
    auto began = after(start, load_.warm_up_seconds);
    const auto end = after(began, load_.seconds);
    bool warm = false;
    for (auto now = start; now < end && figures_.errors < most_errors; now = now_ns()) {
      if (!warm && now >= began) {
        warm = true;
        began = now;
        figures_.begin();
      }
      poller_.run_once(std::min(warm ? end : began, send_due(now)));
    }
    figures_.seconds = static_cast<double>(now_ns() - began) / second;
    return figures_;
  }

 private:
  // The first requests' times: evenly over one interval, some time from now.
  void spread(std::uint64_t now) {
    if (load_.rate == 0) return;
    interval_ = static_cast<std::uint64_t>(second * load_.connections / load_.rate);
    const auto count = static_cast<std::uint64_t>(load_.connections);
    for (std::uint64_t i = 0; i < count; ++i)
      exchanges_[i]->next_due = now + 20'000'000 + interval_ * i / count;
  }
  // Sends what is due by now; when the next one will be.
  std::uint64_t send_due(std::uint64_t now) {
    std::uint64_t next = ~std::uint64_t{0};
    if (interval_ == 0) return next;
    for (auto& exchange : exchanges_) {
      if (!exchange->idle()) continue;
      if (exchange->next_due <= now) {
        exchange->send(exchange->next_due);
        exchange->next_due += interval_;
      } else {
        next = std::min(next, exchange->next_due);
      }
    }
    return next;
  }

  Load load_;
  std::string request_;
  Poller poller_;
  Figures figures_;
  Exchange::Events events_;
  std::vector<std::unique_ptr<Exchange>> exchanges_;
  std::uint64_t interval_ = 0;
};

// A connection for every exchange, so many at a time.
class FreshLoad {
 public:
  FreshLoad(const Load& load, std::string request, const MakeAnswer& make_answer)
      : load_(load), request_(std::move(request)) {
    events_.connected = [](Exchange& exchange) { exchange.send(exchange.next_due); };
    events_.answered = [this](Exchange& exchange) {
      figures_.latency.add(now_ns() - exchange.due());
      ++figures_.requests;
      exchange.close();
      again(exchange);
    };
    events_.broken = [this](Exchange& exchange, const char* why) {
      figures_.failed(why);
      again(exchange);
    };
    for (int i = 0; i < load_.connections; ++i)
      exchanges_.push_back(std::make_unique<Exchange>(poller_, load_.to, request_, make_answer(), events_));
  }

  Figures run() {
    const auto start = now_ns();
    end_ = after(start, load_.seconds);
    open_ = exchanges_.size();
    for (auto& exchange : exchanges_) begin(*exchange, start);
    while (open_ > 0 && now_ns() < end_ + patience_ns) poller_.run_once(end_ + patience_ns);
    if (open_ > 0) figures_.failed("no answer");
    figures_.seconds = static_cast<double>(now_ns() - start) / second;
    return figures_;
  }

 private:
  static void begin(Exchange& exchange, std::uint64_t now) {
    exchange.next_due = now;
    exchange.connect();
  }
  void again(Exchange& exchange) {
    const auto now = now_ns();
    if (now < end_ && figures_.errors < most_errors)
      begin(exchange, now);
    else
      --open_;
  }

  Load load_;
  std::string request_;
  Poller poller_;
  Figures figures_;
  Exchange::Events events_;
  std::vector<std::unique_ptr<Exchange>> exchanges_;
  std::uint64_t end_ = 0;
  std::size_t open_ = 0;
};

MakeAnswer http1_answers() {
  return [] { return std::make_unique<Http1Answer>(); };
}

MakeAnswer sized_answers(std::size_t size) {
  return [size] { return std::make_unique<SizedAnswer>(size); };
}

}  // namespace

Figures load_http1(const Load& load) {
  return KeptLoad(load, http1_request(load.to, ""), http1_answers()).run();
}

Figures load_http1_connections(const Load& load) {
  return FreshLoad(load, http1_request(load.to, "connection: close\r\n"), http1_answers()).run();
}

Figures load_ping(const Load& load) {
  return KeptLoad(load, std::string(load.message, 'E'), sized_answers(load.message)).run();
}

Figures load_connections(const Load& load) {
  return FreshLoad(load, "E", sized_answers(1)).run();
}

Figures load_bulk(const Load& load) {
  Figures figures;
  sockaddr_storage address{};
  const auto size = load.to.to_sockaddr(address);
  const Fd fd(::socket(load.to.ip.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto start = now_ns();
  if (!fd || ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) fail("connect");
  std::string order = "D";
  order.append(reinterpret_cast<const char*>(&load.bytes), sizeof load.bytes);
  if (::send(fd.get(), order.data(), order.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(order.size()))
    fail("send");
  std::vector<char> buffer(262144);
  ssize_t got = 0;
  while ((got = ::recv(fd.get(), buffer.data(), buffer.size(), 0)) > 0)
    figures.bytes += static_cast<std::uint64_t>(got);
  if (got < 0 || figures.bytes != load.bytes) figures.failed(got < 0 ? "receive" : "ended too early");
  figures.seconds = static_cast<double>(now_ns() - start) / second;
  figures.requests = 1;
  return figures;
}

void hold_idle(const Load& load, bool http1) {
  Poller poller;
  std::size_t answered = 0;
  std::size_t broken = 0;
  Exchange::Events events;
  std::vector<std::unique_ptr<Exchange>> exchanges;
  const std::string request = http1 ? http1_request(load.to, "") : "E";
  const MakeAnswer make_answer = http1 ? http1_answers() : sized_answers(1);
  const auto wanted = static_cast<std::size_t>(load.connections);
  const auto next = [&] {
    if (exchanges.size() >= wanted) return;
    exchanges.push_back(std::make_unique<Exchange>(poller, load.to, request, make_answer(), events));
    exchanges.back()->connect();
  };
  events.connected = [](Exchange& exchange) { exchange.send(now_ns()); };
  events.answered = [&](Exchange&) {
    ++answered;
    next();
  };
  events.broken = [&](Exchange&, const char*) {
    ++broken;
    next();
  };
  for (int i = 0; i < 16; ++i) next();
  const auto patience = now_ns() + 10 * patience_ns;
  while (answered + broken < wanted && now_ns() < patience) poller.run_once(patience);
  std::printf("ready %zu\n", answered);
  std::fflush(stdout);
  char byte = 0;
  while (::read(STDIN_FILENO, &byte, 1) > 0) {
  }
}

}  // namespace heddle::bench
