// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"

namespace grpc {
class Service;
}

namespace heddle::control {

// A gRPC server over TLS for one service. Its key and certificate files are watched: a renewed certificate is
// used for new connections within seconds. Clients need no certificate; tokens are what identity asks for,
// and discovery tells nothing that a pod could not ask DNS.
class RpcServer {
 public:
  struct Options {
    std::string address;  // HOST:PORT; port 0 takes a free one
    std::string certificate_path;
    std::string key_path;
  };

  // Errc::unavailable if the address cannot be bound.
  static Result<std::unique_ptr<RpcServer>> start(const Options& options,
                                                  std::shared_ptr<grpc::Service> service);
  ~RpcServer();

  int port() const;
  // No new calls; running ones have until the deadline. Returns when all have ended.
  void stop(std::chrono::system_clock::time_point deadline);

 private:
  struct Parts;
  explicit RpcServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

// gRPC's own log lines through ours. Call once, before the first server.
void send_grpc_log_to_ours();

}  // namespace heddle::control
