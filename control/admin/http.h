// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace heddle::control {

// What the admin server shows; called on its thread.
struct AdminPages {
  std::function<std::string()> metrics;  // Prometheus text
  std::function<bool()> ready;
};

// HTTP/1.1 GET /metrics, /ready (503 until ready), /live, on a thread of its own. Requests, their number and
// their time are bounded. Destruction closes everything.
class AdminServer {
 public:
  // "HOST:PORT", IPv6 in brackets; port 0 takes a free one.
  static Result<std::unique_ptr<AdminServer>> start(const std::string& address, AdminPages pages);
  ~AdminServer();
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  std::uint16_t port() const;

 private:
  struct Parts;
  explicit AdminServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace heddle::control
