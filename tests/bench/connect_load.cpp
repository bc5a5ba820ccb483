// SPDX-License-Identifier: Apache-2.0
// Opens connections one after the other, 64 bytes there and back on each, and measures how long each takes to
// its answer; and the server for it. Both do as little as an application can: no option, no call that is not
// needed.
//
//   heddle-connect-load serve IP:PORT
//   heddle-connect-load dial IP:PORT [PROXY_IP:PORT CONNECTS_MAP_PIN]
//
// `dial` reads numbers of connections, one a line, and answers each with a line of JSON: so that a
// measurement contains connections and no start of a process. With a proxy's address it dials the proxy by
// itself and tells it the destination, as an application that knows its proxy would: it writes the map that
// interception writes.
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <vector>

#include "base/fd.h"
#include "base/ip.h"
#include "bpf/shared/abi.h"

namespace heddle::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t message = 64;
// Of a line's connections together: what hangs ends the program, and with it the measurement.
constexpr unsigned patience_s = 60;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "heddle-connect-load: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

SocketAddress parse(const char* text) {
  const auto address = SocketAddress::parse(text);
  if (!address) {
    std::fprintf(stderr, "heddle-connect-load: %s\n", address.error().message().c_str());
    std::exit(2);
  }
  return *address;
}

Fd make_socket(const SocketAddress& peer) {
  Fd fd(::socket(peer.ip.is_v4() ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) fail("socket");
  return fd;
}

void serve(const SocketAddress& at) {
  const Fd listener = make_socket(at);
  const int one = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_storage address{};
  const auto size = at.to_sockaddr(address);
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) fail("bind");
  if (::listen(listener.get(), 1024) != 0) fail("listen");
  for (;;) {
    const Fd client(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!client) continue;
    char bytes[message];
    if (::recv(client.get(), bytes, sizeof bytes, MSG_WAITALL) != sizeof bytes) continue;
    ::send(client.get(), bytes, sizeof bytes, MSG_NOSIGNAL);
  }
}

// A proxy that is dialled by name, and the map that tells it where to.
struct Proxy {
  SocketAddress address;
  int map;
};

void put(const SocketAddress& from, __be32* ip) {
  std::memcpy(ip, from.ip.bytes().data(), 16);
}

__u64 netns_cookie(int socket) {
  __u64 value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(socket, SOL_SOCKET, 71 /* SO_NETNS_COOKIE */, &value, &length) != 0)
    fail("SO_NETNS_COOKIE");
  return value;
}

// Tells the proxy where the connection that `socket` is about to make shall go.
void announce(int socket, const Proxy& proxy, const SocketAddress& destination) {
  sockaddr_storage local{};
  SocketAddress own = proxy.address;
  own.port = 0;
  auto size = own.to_sockaddr(local);
  if (::bind(socket, reinterpret_cast<sockaddr*>(&local), size) != 0) fail("bind");
  size = sizeof local;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&local), &size);
  own = SocketAddress::from(local).value();
  static const __u64 cookie = netns_cookie(socket);
  heddle_tuple tuple{};
  tuple.cookie = cookie;
  put(own, tuple.local_ip);
  put(proxy.address, tuple.remote_ip);
  tuple.local_port = own.port;
  tuple.remote_port = proxy.address.port;
  heddle_address target{};
  put(destination, target.ip);
  target.port = destination.port;
  if (bpf_map_update_elem(proxy.map, &tuple, &target, BPF_ANY) != 0) fail("map update");
}

struct Spent {
  double answer_us = 0;
  double announcing_us = 0;
};

Spent connect_once(const SocketAddress& destination, const Proxy* proxy, bool time_announcing) {
  Spent spent;
  const auto since = [](Clock::time_point then) {
    return std::chrono::duration<double, std::micro>(Clock::now() - then).count();
  };
  sockaddr_storage address{};
  const auto size = (proxy != nullptr ? proxy->address : destination).to_sockaddr(address);
  char bytes[message] = {};
  const auto start = Clock::now();
  const Fd fd = make_socket(destination);
  if (proxy != nullptr) {
    const auto before = time_announcing ? Clock::now() : start;
    announce(fd.get(), *proxy, destination);
    if (time_announcing) spent.announcing_us = since(before);
  }
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) fail("connect");
  if (::send(fd.get(), bytes, sizeof bytes, MSG_NOSIGNAL) != sizeof bytes) fail("send");
  if (::recv(fd.get(), bytes, sizeof bytes, MSG_WAITALL) != sizeof bytes) fail("recv");
  spent.answer_us = since(start);
  // The server ends first: the proxy's ends of closed connections wait, not this side's ports.
  if (::recv(fd.get(), bytes, sizeof bytes, 0) != 0) fail("recv of the end");
  return spent;
}

double median(std::vector<double>& values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

int dial(const SocketAddress& destination, const Proxy* proxy) {
  int count = 0;
  std::vector<double> answers;
  std::vector<double> announcing;
  while (std::cin >> count) {
    answers.clear();
    announcing.clear();
    ::alarm(patience_s);
    for (int i = 0; i < count; ++i) {
      const bool sample = proxy != nullptr && i % 16 == 0;
      const Spent spent = connect_once(destination, proxy, sample);
      answers.push_back(spent.answer_us);
      if (sample) announcing.push_back(spent.announcing_us);
    }
    ::alarm(0);
    std::printf("{\"count\":%d,\"p50_us\":%.2f,\"announcing_us\":%.2f}\n", count, median(answers),
                median(announcing));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace heddle::bench

int main(int argc, char** argv) {
  using namespace heddle;
  using namespace heddle::bench;
  const std::string command = argc > 1 ? argv[1] : "";
  if (command == "serve" && argc == 3) {
    serve(parse(argv[2]));
    return 1;
  }
  if (command == "dial" && (argc == 3 || argc == 5)) {
    const auto destination = parse(argv[2]);
    if (argc == 3) return dial(destination, nullptr);
    const Proxy proxy{parse(argv[3]), bpf_obj_get(argv[4])};
    if (proxy.map < 0) fail(argv[4]);
    return dial(destination, &proxy);
  }
  std::fprintf(stderr, "usage: %s serve IP:PORT | dial IP:PORT [PROXY_IP:PORT CONNECTS_MAP_PIN]\n", argv[0]);
  return 2;
}
