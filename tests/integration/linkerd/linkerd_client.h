// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/integration/linkerd/h2_peer.h"
#include "tests/integration/linkerd/header_bytes.h"
#include "tests/integration/linkerd/mesh_lab.h"

namespace heddle::proxy::test {

using heddle::test::H2Peer;
using heddle::test::header_bytes;
using heddle::test::magic;
using heddle::test::name_field;
using heddle::test::port_field;
using heddle::test::session_http1;
using heddle::test::session_http2;
using heddle::test::transport_alpn;

// Linkerd's proxy in front of a pod of ours, and the pod's app behind.
class LinkerdClient : public ::testing::Test {
 protected:
  // An app at the pod's address.
  PeerListener app_{"127.0.0.5"};
  MeshLab lab_;
  PodRef pod_ = lab_.add_pod(2, "127.0.0.5");

  std::uint16_t port() const { return app_.address().port; }
  // A connection towards the app's port, or to 4143.
  Peer dial(std::uint16_t port) { return Peer::dial(lab_.listen_inbound(pod_, port)); }
  Peer secured(std::uint16_t port, std::vector<std::string> alpn = {}) {
    Peer peer = dial(port);
    EXPECT_TRUE(peer.connect_tls(lab_.linkerd_client(pod_, std::move(alpn)))) << peer.failure();
    return peer;
  }
  Peer on_4143() {
    Peer peer = secured(4143, {transport_alpn});
    EXPECT_EQ(peer.alpn(), transport_alpn);
    return peer;
  }
  // What a client sees of a connection that is refused: no byte, and no orderly end.
  static bool refused(Peer& peer) {
    const std::string got = peer.read_some();
    return got == "<reset>" || got == "<error>" || got == "<truncated>";
  }
  // It may be dialled for a client that has not spoken yet, but gets nothing.
  bool nobody_speaks_to_the_app() {
    while (auto app = app_.accept(std::chrono::milliseconds(100))) {
      if (app->has_bytes()) return false;
    }
    return true;
  }
  // So many connections were refused for that reason.
  bool errors(const std::string& why, double count) {
    return lab_.eventually(
        [&] { return lab_.metric("inbound_tcp_errors_total", {"error=\"" + why + "\""}) == count; });
  }
  // The app's connection once TLS has ended: one that was dialled while the client was slow to begin TLS was
  // dropped before the handshake was over.
  std::optional<Peer> app_dialled() {
    while (auto app = app_.accept()) {
      if (!app->was_reset()) return app;
    }
    return std::nullopt;
  }
  // The app's connection that carries a request: what was dialled while the client was still silent is
  // dropped.
  std::optional<Peer> app_asked() {
    while (auto app = app_.accept()) {
      if (app->has_bytes()) return app;
    }
    return std::nullopt;
  }
};

}  // namespace heddle::proxy::test
