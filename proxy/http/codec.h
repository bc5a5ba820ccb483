// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "proxy/http/engine.h"
#include "proxy/http/exchange.h"
#include "proxy/io/stream.h"
#include "proxy/pods/byte_budget.h"

namespace heddle::proxy::http {

// Whoever holds a server-side codec.
class ServerOwner {
 public:
  // The connection ended, one way or the other. The codec may be destroyed from the loop, not in this call.
  virtual void server_closed() = 0;
  // A request switched protocols: from now on these two streams are to be relayed. The codec is done.
  virtual void server_switched(std::unique_ptr<Stream> downstream, std::unique_ptr<Stream> upstream) = 0;

 protected:
  ~ServerOwner() = default;
};

// The server side of one HTTP connection.
class ServerCodec : public Buried {
 public:
  // Finish what runs, say that no more is welcome, close. HTTP/1 can only say so in a response: a connection
  // that waits for a request stays until it was answered once more, or until end_idle().
  virtual void drain() = 0;
  virtual void end_idle() {}
  // Ends now; running exchanges are aborted, server_closed() is not called.
  virtual void abort() = 0;
};

// `budget`: of the pod whose connection this is.
std::unique_ptr<ServerCodec> make_h1_server(Engine& engine, std::unique_ptr<Stream> stream, Handler& handler,
                                            ServerOwner& owner, ByteBudget budget = {});

}  // namespace heddle::proxy::http
