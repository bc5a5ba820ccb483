// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "proxy/http/codec.h"
#include "proxy/http/h2_session.h"

namespace heddle::proxy::http {

// Takes CONNECT streams of a mesh connection.
class TunnelHandler {
 public:
  // Empty: accepted, `open` is called at once with the bytes. Otherwise why it is refused (403).
  virtual std::string check_tunnel(std::string_view authority, std::string_view client) = 0;
  virtual void open_tunnel(std::string_view client, std::unique_ptr<Stream> stream) = 0;

 protected:
  ~TunnelHandler() = default;
};

// `tunnels` null: CONNECT is answered 501.
std::unique_ptr<ServerCodec> make_h2_server(Engine& engine, std::unique_ptr<Stream> stream, Handler& handler,
                                            ServerOwner& owner, const H2Settings& settings,
                                            TunnelHandler* tunnels, ByteBudget budget = {});

}  // namespace heddle::proxy::http
