// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "proxy/io/stream.h"
#include "proxy/pods/pod.h"

namespace heddle::proxy::tls {

constexpr const char* alpn_heddle = "heddle/1";  // HTTP/2 with CONNECT streams between heddle proxies
constexpr const char* alpn_transport = "transport.l5d.io/v1";  // Linkerd's transport header

// What a finished handshake proved.
struct Session {
  std::string peer_identity;  // first DNS or URI SAN of the verified peer certificate; empty: no certificate
  std::string alpn;           // selected protocol; empty: none
  std::string server_name;    // SNI as the client sent it
};

struct Established {
  std::unique_ptr<Stream> stream;
  Session session;
};
using Done = std::function<void(Result<Established>)>;

class Handshake {  // a pending handshake; destroying it cancels and resets the connection
 public:
  virtual ~Handshake() = default;
};

// TLS 1.3 with the certificates of this node's pods. One per worker; certificates arrive by posts.
class Endpoint {
 public:
  virtual ~Endpoint() = default;
  // As client of pod `as`; the peer must prove `expected_identity`. Fails with Errc::unavailable when `as`
  // has no valid certificate yet (nothing is ever sent in plaintext instead).
  [[nodiscard]] virtual std::unique_ptr<Handshake> connect(std::unique_ptr<Stream> stream, PodRef as,
                                                           std::string expected_identity,
                                                           std::string server_name,
                                                           std::vector<std::string> alpn,
                                                           std::chrono::milliseconds timeout, Done done) = 0;
  // As server of pod `as`. A client certificate is asked for and verified if given; none is allowed (Session
  // then has no peer_identity). Of `alpn` the first that the client offers is selected, else none. `from`:
  // whose connection it is; of too many handshakes at once those of who has most of them fail
  // (Errc::exhausted).
  [[nodiscard]] virtual std::unique_ptr<Handshake> accept(std::unique_ptr<Stream> stream, PodRef as,
                                                          const IpAddress& from,
                                                          std::vector<std::string> alpn,
                                                          std::chrono::milliseconds timeout, Done done) = 0;
  // Has `pod` a certificate that is valid now?
  virtual bool certified(const Pod& pod) const = 0;
  // Connections that nobody holds any more and whose last bytes are on their way.
  virtual std::size_t closing() const = 0;
};

}  // namespace heddle::proxy::tls
