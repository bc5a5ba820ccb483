// SPDX-License-Identifier: Apache-2.0
// Opens connections one after the other and measures how long each takes to its first answer; and the server
// for it.
//
//   heddle-connect-load serve IP:PORT
//   heddle-connect-load dial IP:PORT COUNT [PROXY_IP:PORT CONNECTS_MAP_PIN]
//
// With a proxy's address it dials the proxy by itself and tells it the destination, as an application that
// knows its proxy would: it writes the map that interception writes.
#include <bpf/bpf.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/fd.h"
#include "base/ip.h"
#include "bpf/shared/abi.h"

namespace heddle::bench {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t message = 64;

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

Fd make_socket() {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) fail("socket");
  const int one = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  const timeval limit{10, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return fd;
}

void serve(const SocketAddress& at) {
  const Fd listener = make_socket();
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

void put(const SocketAddress& from, __be32* ip) {
  std::memcpy(ip, from.ip.bytes().data(), 16);
}

// Tells the proxy where the connection that `socket` is about to make shall go.
void announce(int socket, const SocketAddress& proxy, const SocketAddress& destination, int map) {
  sockaddr_storage local{};
  auto size = proxy.to_sockaddr(local);
  reinterpret_cast<sockaddr_in&>(local).sin_port = 0;
  if (::bind(socket, reinterpret_cast<sockaddr*>(&local), size) != 0) fail("bind");
  size = sizeof local;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&local), &size);
  const SocketAddress own = SocketAddress::from(local).value();
  static const __u64 cookie = [socket] {
    __u64 value = 0;
    socklen_t length = sizeof value;
    if (::getsockopt(socket, SOL_SOCKET, 71 /* SO_NETNS_COOKIE */, &value, &length) != 0)
      fail("SO_NETNS_COOKIE");
    return value;
  }();
  heddle_tuple tuple{};
  tuple.cookie = cookie;
  put(own, tuple.local_ip);
  put(proxy, tuple.remote_ip);
  tuple.local_port = own.port;
  tuple.remote_port = proxy.port;
  heddle_address target{};
  put(destination, target.ip);
  target.port = destination.port;
  if (bpf_map_update_elem(map, &tuple, &target, BPF_ANY) != 0) fail("map update");
}

int dial(const SocketAddress& destination, int count, const SocketAddress* proxy, int map) {
  sockaddr_storage address{};
  const auto size = (proxy ? *proxy : destination).to_sockaddr(address);
  std::vector<double> took;
  took.reserve(static_cast<std::size_t>(count));
  int failed = 0;
  char bytes[message] = {};
  for (int i = 0; i < count; ++i) {
    const auto start = Clock::now();
    const Fd fd = make_socket();
    if (proxy) announce(fd.get(), *proxy, destination, map);
    const bool good = ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                      ::send(fd.get(), bytes, sizeof bytes, MSG_NOSIGNAL) == sizeof bytes &&
                      ::recv(fd.get(), bytes, sizeof bytes, MSG_WAITALL) == sizeof bytes;
    took.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
    if (!good) ++failed;
    // The server ends first: the proxy's ends of closed connections wait, not this side's ports.
    while (good && ::recv(fd.get(), bytes, sizeof bytes, 0) > 0) {
    }
  }
  std::sort(took.begin(), took.end());
  const auto at = [&](double q) {
    return took[static_cast<std::size_t>(q * static_cast<double>(took.size() - 1))];
  };
  std::printf("{\"count\":%d,\"failed\":%d,\"p50_us\":%.1f,\"p99_us\":%.1f}\n", count, failed, at(.5),
              at(.99));
  return failed == 0 ? 0 : 1;
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
  if (command == "dial" && (argc == 4 || argc == 6)) {
    const auto destination = parse(argv[2]);
    if (argc == 4) return dial(destination, std::atoi(argv[3]), nullptr, -1);
    const auto proxy = parse(argv[4]);
    const int map = bpf_obj_get(argv[5]);
    if (map < 0) fail(argv[5]);
    return dial(destination, std::atoi(argv[3]), &proxy, map);
  }
  std::fprintf(stderr, "usage: %s serve IP:PORT | dial IP:PORT COUNT [PROXY_IP:PORT CONNECTS_MAP_PIN]\n",
               argv[0]);
  return 2;
}
