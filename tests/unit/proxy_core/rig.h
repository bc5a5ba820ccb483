// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/io/connection.h"
#include "proxy/io/tcp_stream.h"
#include "proxy/pods/node_pods.h"
#include "proxy/telemetry/registry.h"
#include "proxy/upstream/brokered_dialer.h"
#include "proxy/worker.h"

namespace heddle::proxy::test {

// Answers every lookup with what the test put there.
class FakeDirectory final : public Directory {
 public:
  std::map<SocketAddress, DestinationRef> known;
  DestinationRef lookup(const Pod&, const SocketAddress& original_dst) override {
    DestinationRef& entry = known[original_dst];
    if (!entry) {
      entry = std::make_shared<Destination>(1);
      entry->address = original_dst;
      entry->authority = original_dst.to_string();
      entry->state = Destination::State::endpoint;
      entry->endpoint =
          std::make_shared<Endpoint>(EndpointInfo{original_dst, {}, {}, ProtocolHint::none, 0, {}});
    }
    return entry;
  }
  DestinationRef lookup(const Pod& client, const std::string&, std::uint16_t port) override {
    return lookup(client, SocketAddress{{}, port});
  }
  std::unique_ptr<Waiter> when_known(DestinationRef, std::function<void()>) override { return nullptr; }
};

// A worker whose brokered sockets are ordinary ones of this namespace.
struct Rig {
  explicit Rig(Settings with = {}, unsigned index = 0) : settings(with), worker(index, settings) {
    worker.telemetry = registry.make_telemetry();
    auto own_pods = std::make_unique<NodePods>();
    pods = own_pods.get();
    worker.pods = std::move(own_pods);
    auto own_dialer = std::make_unique<BrokeredDialer>(
        worker.loop, [this](std::uint32_t pod_id, bool ipv6, std::uint32_t count) {
          ++requests;
          if (broker_away) return;
          worker.loop.post([this, pod_id, ipv6, count] { give(pod_id, ipv6, count); });
        });
    dialer = own_dialer.get();
    worker.dialer = std::move(own_dialer);
    auto own_directory = std::make_unique<FakeDirectory>();
    directory = own_directory.get();
    worker.directory = std::move(own_directory);
    worker.connections = std::make_unique<ConnectionSet>(worker);
  }

  void give(std::uint32_t pod_id, bool ipv6, std::uint32_t count) {
    std::vector<Fd> sockets;
    for (std::uint32_t i = 0; i < count; ++i) {
      Fd socket(::socket(ipv6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      if (!socket) break;
      set_connection_options(socket.get());
      sockets.push_back(std::move(socket));
    }
    dialer->add_sockets(pod_id, ipv6, std::move(sockets), {});
  }

  PodRef add_pod(std::uint32_t id, const char* ip, std::function<void(Pod&)> change = {}) {
    auto pod = std::make_shared<Pod>();
    pod->id = id;
    pod->netns_cookie = id + 1000;
    pod->ns = "shop";
    pod->name = "pod-" + std::to_string(id);
    pod->identity = "sa" + std::to_string(id) + ".shop.serviceaccount.identity.heddle.cluster.local";
    pod->ips = {IpAddress::parse(ip).value()};
    pod->outbound_port = 4140;
    pod->inbound_port = 4143;
    pod->keep_client_source = false;
    if (change) change(*pod);
    pods->upsert(pod);
    dialer->pod_upserted(pod);
    return pod;
  }

  // Runs the loop on this thread until the condition holds.
  bool run_until(const std::function<bool()>& condition,
                 std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    const auto end = Loop::Clock::now() + limit;
    Timer timer(worker.loop, [&] { worker.loop.stop(); });
    bool holds = condition();
    while (!holds && Loop::Clock::now() < end) {
      timer.arm(std::chrono::milliseconds(1));
      worker.loop.run();
      holds = condition();
    }
    return holds;
  }

  Settings settings;
  MetricsRegistry registry;
  Worker worker;
  NodePods* pods = nullptr;
  BrokeredDialer* dialer = nullptr;
  FakeDirectory* directory = nullptr;
  int requests = 0;
  bool broker_away = false;
};

// A listening socket on loopback and its address.
struct Server {
  Fd listener;
  SocketAddress address;
  explicit Server(int backlog = 4096, const char* ip = "127.0.0.1") {
    listener.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in at{};
    at.sin_family = AF_INET;
    ::inet_pton(AF_INET, ip, &at.sin_addr);
    socklen_t size = sizeof at;
    if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&at), size) != 0 ||
        ::listen(listener.get(), backlog) != 0 ||
        ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&at), &size) != 0) {
      std::abort();
    }
    address = {IpAddress::from(at.sin_addr), ntohs(at.sin_port)};
  }
  // Empty when nobody connected yet.
  Fd accept() const { return Fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)); }
};

// Everything readable now; "<end>" and "<reset>" where the stream ended.
inline std::string read_all(int socket) {
  std::string out;
  char buffer[65536];
  while (true) {
    const ssize_t n = ::recv(socket, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n > 0) {
      out.append(buffer, static_cast<std::size_t>(n));
    } else if (n == 0) {
      return out + "<end>";
    } else {
      return errno == EAGAIN ? out : out + "<reset>";
    }
  }
}

}  // namespace heddle::proxy::test
