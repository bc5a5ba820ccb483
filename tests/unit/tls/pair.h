// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "proxy/io/loop.h"
#include "proxy/tls/certificates.h"
#include "proxy/tls/context.h"
#include "proxy/tls/endpoint.h"
#include "proxy/tls/key.h"
#include "tests/support/authority/authority.h"

namespace heddle::proxy::tls {

inline const std::string web = "web.shop.serviceaccount.identity.heddle.cluster.local";
inline const std::string client_name = "curl.shop.serviceaccount.identity.heddle.cluster.local";

// What servers take here.
inline const std::vector<std::string> both_protocols{alpn_heddle, alpn_transport};

// A loop that the test's own thread runs until a condition holds.
class TestLoop {
 public:
  Loop loop;

  template <class Condition>
  bool until(Condition condition, std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    if (condition()) return true;
    bool late = false;
    Timer deadline(loop, [&] {
      late = true;
      loop.stop();
    });
    deadline.arm(limit);
    // The condition is looked at after each batch of events: a deferred task that renews itself by a timer.
    Timer look(loop, [&] {
      if (condition()) return loop.stop();
      look_again(look);
    });
    look_again(look);
    loop.run();
    return !late || condition();
  }

 private:
  static void look_again(Timer& timer) { timer.arm(std::chrono::milliseconds(1)); }
};

inline PodRef make_pod(const std::string& identity, std::uint32_t id = 1) {
  auto pod = std::make_shared<Pod>();
  pod->id = id;
  pod->ns = "shop";
  pod->name = "pod-" + std::to_string(id);
  pod->identity = identity;
  return pod;
}

inline TrustAnchors anchors_of(const test::Authority& authority) {
  return parse_trust_anchors(authority.root_pem(), "test").value();
}

// A context for `identity`, its leaf as `leaf` says.
inline ContextRef issue(test::Authority& authority, const std::string& identity, const TrustAnchors& anchors,
                        std::chrono::seconds ends = std::chrono::hours(1)) {
  const auto key = make_key().value();
  test::Authority::Leaf leaf;
  leaf.names = {identity};
  leaf.ends = ends;
  const auto der = authority.sign(make_request(key, identity).value(), leaf);
  return make_context(identity, key, der, {}, anchors).value();
}

// One side: an endpoint with one identity.
struct Side {
  Side(Loop& loop, ContextRef context) : worker(std::make_shared<WorkerTls>(loop, 256)) {
    if (context) worker->contexts[context->identity] = context;
    endpoint = make_endpoint(worker);
    pod = make_pod(context ? context->identity : "nobody");
  }
  std::shared_ptr<WorkerTls> worker;
  std::unique_ptr<Endpoint> endpoint;
  PodRef pod;
  std::unique_ptr<Handshake> handshake;
  std::optional<Result<Established>> result;
};

inline std::pair<Fd, Fd> sockets() {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  return {Fd(fds[0]), Fd(fds[1])};
}

// Two sides with a connection between them.
class TlsPair : public testing::Test {
 protected:
  void connect_sides(std::unique_ptr<Stream> a, std::unique_ptr<Stream> b, std::string expected = web,
                     std::vector<std::string> alpn = {alpn_heddle, alpn_transport}) {
    client->handshake = client->endpoint->connect(
        std::move(a), client->pod, expected, expected, std::move(alpn), std::chrono::seconds(5),
        [this](Result<Established> r) { client->result = std::move(r); });
    server->handshake = server->endpoint->accept(
        std::move(b), server->pod, IpAddress{}, both_protocols, std::chrono::seconds(5),
        [this](Result<Established> r) { server->result = std::move(r); });
  }

  void shake(std::string expected = web, std::vector<std::string> alpn = {alpn_heddle, alpn_transport}) {
    auto [a, b] = sockets();
    connect_sides(make_tcp_stream(loop.loop, std::move(a)), make_tcp_stream(loop.loop, std::move(b)),
                  expected, alpn);
    EXPECT_TRUE(loop.until([&] { return client->result && server->result; }));
  }

  // After a good handshake.
  void take_streams() {
    ASSERT_TRUE(*client->result) << client->result->error().message();
    ASSERT_TRUE(*server->result) << server->result->error().message();
    client_stream = std::move((*client->result)->stream);
    server_stream = std::move((*server->result)->stream);
    client->handshake.reset();
    server->handshake.reset();
  }

  test::Authority authority;
  TrustAnchors anchors = anchors_of(authority);
  TestLoop loop;
  std::unique_ptr<Side> client = std::make_unique<Side>(loop.loop, issue(authority, client_name, anchors));
  std::unique_ptr<Side> server = std::make_unique<Side>(loop.loop, issue(authority, web, anchors));
  std::unique_ptr<Stream> client_stream;
  std::unique_ptr<Stream> server_stream;
};

// Collects what a stream says, as a good owner would. The loop runs only while both live.
struct Sink : StreamEvents {
  explicit Sink(Stream& s) : stream(s) {
    stream.set_events(this);
    drain();
  }
  void drain() {
    std::array<std::byte, 8192> buffer;
    for (;;) {
      const auto got = stream.read(buffer);
      last = got.status;
      if (got.status == IoStatus::ok) {
        text.append(reinterpret_cast<const char*>(buffer.data()), got.size);
        continue;
      }
      if (got.status == IoStatus::error) error = got.error;
      return;
    }
  }
  void on_readable() override { drain(); }
  void on_writable() override {
    ++writable;
    if (more) more();
  }
  Stream& stream;
  std::string text;
  IoStatus last = IoStatus::would_block;
  int error = 0;
  int writable = 0;
  std::function<void()> more;
};

inline IoResult write_text(Stream& stream, std::string_view text) {
  const iovec piece{const_cast<char*>(text.data()), text.size()};
  return stream.write(std::span(&piece, 1));
}

}  // namespace heddle::proxy::tls
