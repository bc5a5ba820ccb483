// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "proxy/connection.h"
#include "proxy/http/codec.h"
#include "proxy/http/h2_server.h"
#include "proxy/telemetry/telemetry.h"
#include "proxy/upstream/relay.h"

namespace heddle::proxy {

struct Worker;

// An accepted connection that speaks HTTP: a server-side codec, and a relay once a request switched
// protocols. The subclasses handle the requests.
class HttpConnection : public Connection, protected http::Handler, private http::ServerOwner {
 public:
  HttpConnection(Worker& worker, PodRef owner) : Connection(std::move(owner)), worker_(worker) {}
  ~HttpConnection() override;

  void begin_h1(std::unique_ptr<Stream> stream);
  void begin_h2(std::unique_ptr<Stream> stream, const http::H2Settings& settings,
                http::TunnelHandler* tunnels);

  void drain() override;
  void end_idle() override;
  void abort() override;

 protected:
  // A request has made it a connection of bytes.
  bool switched() const { return relay_ != nullptr; }
  Worker& worker_;

 private:
  void tell_of_drain();
  void server_closed() override;
  void server_switched(std::unique_ptr<Stream> downstream, std::unique_ptr<Stream> upstream) override;

  std::unique_ptr<http::ServerCodec> codec_;
  std::unique_ptr<Relay> relay_;
};

}  // namespace heddle::proxy
