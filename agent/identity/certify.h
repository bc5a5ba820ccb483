// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace heddle::agent {

struct IssuedCertificate {
  std::string leaf;                        // DER
  std::vector<std::string> intermediates;  // DER, leaf's issuer first
  std::uint64_t valid_until_unix = 0;      // seconds
};

// The control plane's Identity service (api/linkerd/identity.proto) over TLS. The one file that knows gRPC.
class IdentityClient {
 public:
  struct Options {
    std::string address;        // host:port
    std::string trust_anchors;  // PEM file, read again when it changed
    // Proves which node or agent this is; read for each request, its content is never logged. Beside a pod's
    // token it is sent as the metadata "authorization: Bearer ...".
    std::string token_file;
    std::string server_name;  // the name control's certificate must have
    std::chrono::milliseconds deadline{10'000};
  };
  // Called on one of gRPC's threads, or at once on the caller's. Errc::unavailable and Errc::timeout may go
  // away by themselves; others need somebody to act.
  using Done = std::function<void(Result<IssuedCertificate>)>;

  explicit IdentityClient(Options options);
  // Cancels what is outstanding and waits for its callbacks.
  ~IdentityClient();
  // `pod_token`: of a pod that has the identity; empty: the token file's stands for it.
  void certify(const std::string& identity, const std::string& csr, const std::string& pod_token, Done done);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace heddle::agent
