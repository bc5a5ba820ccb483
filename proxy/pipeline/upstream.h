// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/result.h"
#include "proxy/balance/balancer.h"
#include "proxy/connection.h"
#include "proxy/io/stream.h"
#include "proxy/pods/pod.h"
#include "proxy/upstream/mesh_pool.h"

namespace heddle::proxy {

// Counts a connection on its endpoint for as long as it lives: what least-connections balancing looks at.
class EndpointUse {
 public:
  EndpointUse() = default;
  explicit EndpointUse(EndpointRef endpoint) : endpoint_(std::move(endpoint)) {
    if (endpoint_) ++endpoint_->connections;
  }
  EndpointUse(EndpointUse&&) = default;
  EndpointUse& operator=(EndpointUse&& other) noexcept {
    std::swap(endpoint_, other.endpoint_);
    return *this;
  }
  ~EndpointUse() {
    if (endpoint_) --endpoint_->connections;
  }
  const EndpointRef& endpoint() const { return endpoint_; }

 private:
  EndpointRef endpoint_;
};

// The opened other side of a connection.
struct Upstream {
  std::unique_ptr<Stream> stream;
  SocketAddress address;
  EndpointUse use;
  Wire wire = Wire::plaintext;
  std::string peer_identity;
  // A join's: what its inbound side is authorized by.
  std::shared_ptr<InboundConnection> joined;
};

// An upstream on its way; destroying it cancels.
class Opening {
 public:
  virtual ~Opening() = default;
};
using OpenDone = std::function<void(Result<Upstream>)>;

}  // namespace heddle::proxy
