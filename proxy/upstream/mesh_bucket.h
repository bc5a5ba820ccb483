// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <list>
#include <memory>
#include <optional>

#include "proxy/upstream/http_bucket.h"
#include "proxy/upstream/mesh_pool.h"

namespace heddle::proxy {

// The mesh connections from one pod to one endpoint. To a heddle: one HTTP/2 connection for all requests and
// tunnels (more when the peer allows no further streams). To others: a TLS connection per tunnel, pooled ones
// for requests.
class MeshBucket final : public HttpBucket {
 public:
  MeshBucket(Worker& worker, http::Engine& engine, PodRef pod, EndpointInfo info, bool http2);
  ~MeshBucket() override;

  std::unique_ptr<MeshPool::Pending> open_tunnel(SocketAddress client, std::chrono::milliseconds timeout,
                                                 MeshPool::Content content, MeshPool::Done done);

 private:
  class Tunnel;   // one that waits
  class Attempt;  // one connection being made
  friend class Tunnel;
  friend class Attempt;

  void connect() override;
  bool nothing_else_waits() const override { return waiting_.empty(); }
  void client_available(http::H2Client& client) override;
  void serve(Tunnel& tunnel);
  void serve_tunnels();
  void connect_for_tunnels();
  void connected(Attempt& attempt, Wire wire, std::unique_ptr<Stream> stream);
  void failed(Attempt& attempt, const Error& error);
  void lost(bool for_tunnel, const Error& error);
  void forget(Attempt& attempt);

  Worker& worker_;
  PodRef pod_;
  const EndpointInfo info_;
  const bool http2_;          // requests to a peer that is no heddle go as HTTP/2
  std::optional<Wire> wire_;  // what the peer turned out to be
  std::list<std::unique_ptr<Attempt>> attempts_;
  std::list<Tunnel*> waiting_;
  std::shared_ptr<MeshBucket*> self_;
};

}  // namespace heddle::proxy
