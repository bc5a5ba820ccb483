// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/injector/certificate.h"
#include "control/injector/counters.h"

namespace heddle::control {

// HTTPS (TLS 1.2 or later): POST /mutate and GET /healthz, on a thread of its own. Size of requests, their
// time and the number of connections are bounded. Destruction closes everything.
class WebhookServer {
 public:
  // Of a POST to /mutate: the body of the answer, or an error for a body that cannot be answered (400).
  // Called on the server's thread.
  using Mutate = std::function<Result<std::string>(std::string_view body)>;

  // "HOST:PORT", ":PORT" for every address, IPv6 in brackets; port 0 takes a free one. Until a certificate is
  // used, connections are closed.
  static Result<std::unique_ptr<WebhookServer>> start(const std::string& address, WebhookCounters& counters,
                                                      Mutate mutate);
  ~WebhookServer();
  WebhookServer(const WebhookServer&) = delete;
  WebhookServer& operator=(const WebhookServer&) = delete;

  // For connections from now on. Thread-safe.
  Result<> use(const WebhookCertificate& certificate);
  std::uint16_t port() const;

 private:
  struct Parts;
  explicit WebhookServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace heddle::control
