// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/ip.h"
#include "tests/support/authority/authority.h"

namespace heddle::test {

// What a scripted peer brings to a TLS handshake.
struct PeerTls {
  std::string roots;                   // PEM
  std::optional<Authority::Pair> own;  // none: shows no certificate
  std::string server_name;             // client: SNI, empty for none
  std::vector<std::string> alpn;       // client: offered; server: the first of these that is offered is taken
  std::string groups;                  // of the key exchange; empty: OpenSSL's own choice
  bool only_tls12 = false;
};

// One connection as somebody who is not heddle holds it: blocking, each operation limited to ten seconds,
// plaintext until one of the handshakes. For the test's own thread.
class Peer {
 public:
  explicit Peer(Fd socket);
  ~Peer();
  Peer(Peer&&) noexcept;
  Peer& operator=(Peer&&) noexcept;

  static Peer dial(const SocketAddress& to);

  // True when both sides are content; `failure()` otherwise.
  bool connect_tls(const PeerTls& with);
  bool accept_tls(const PeerTls& with);
  std::string failure() const;

  // What the handshake showed.
  std::string alpn() const;                       // selected, empty: none
  std::string server_name() const;                // server: SNI as it came
  std::vector<std::string> offered_alpn() const;  // server
  std::vector<std::string> peer_names() const;    // DNS and URI names of the other's certificate
  int tls_version() const;

  // Whole or not at all; false when the connection broke.
  bool write(std::string_view text);
  // Up to `size` bytes, at least one; "<end>" after close_notify or FIN, "<reset>", "<error>" (alert), or
  // "<silent>" when nothing came within the limit. Never mixed with bytes.
  std::string read_some(std::size_t size = 65536);
  // Reads until as many bytes (or until the text) have come; what came, with a mark as above when it stopped
  // short.
  std::string read(std::size_t size);
  std::string read_until(std::string_view end);
  // Everything until the end, which is not part of it unless it is no orderly one.
  std::string read_rest();
  // No more writes: close_notify and FIN.
  void finish();
  // Closes with a reset.
  void reset();
  // Waits for bytes, which stay to be read: false when the connection ends before any (or stays silent).
  bool has_bytes();
  // Already; does not wait.
  bool was_reset();
  int descriptor() const;
  void set_limit(std::chrono::milliseconds limit);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A listening socket at an address of loopback, whose connections are taken by the test's thread.
class PeerListener {
 public:
  explicit PeerListener(const char* ip = "127.0.0.20", std::uint16_t port = 0);
  const SocketAddress& address() const { return address_; }
  // Waits; nothing when nobody came within the limit.
  std::optional<Peer> accept(std::chrono::milliseconds limit = std::chrono::seconds(10));

 private:
  Fd socket_;
  SocketAddress address_;
};

}  // namespace heddle::test
