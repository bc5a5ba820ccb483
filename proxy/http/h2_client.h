// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "proxy/http/exchange.h"
#include "proxy/http/h2_session.h"
#include "proxy/http/h2_tunnel.h"

namespace heddle::proxy::http {

class H2Client;

class H2ClientOwner {
 public:
  // A stream ended or the peer allows more: available() may be true now.
  virtual void client_available(H2Client& client) = 0;
  // Closed; nothing will be called any more. Destroy it from the loop (Engine::bury).
  virtual void client_closed(H2Client& client) = 0;

 protected:
  ~H2ClientOwner() = default;
};

// The client side of an HTTP/2 connection: many exchanges, and on mesh connections tunnels.
class H2Client final : public H2Session, public Client {
 public:
  // `mesh`: HTTP/1 requests carry l5d-orig-proto, and its echo in the answer restores their version.
  H2Client(Engine& engine, std::unique_ptr<Stream> stream, H2ClientOwner& owner, const H2Settings& settings,
           bool mesh, ByteBudget budget = {});

  // Room for one more stream, and no GOAWAY yet.
  bool available() const;
  // A new one should be used for what comes next, this one only finishes.
  bool retired() const { return retired_ || closed(); }
  std::size_t streams() const { return H2Session::streams(); }
  Loop::Clock::time_point idle_since() const { return idle_since_; }

  Peer* start(const RequestHead& head, bool end, ResponsePeer& requester) override;
  // A CONNECT stream, to be used at once. Null when no stream id is left.
  std::unique_ptr<Stream> open_tunnel(std::string_view authority, std::string_view client);
  void retire();
  using H2Session::close;

 private:
  friend class ClientStream;
  std::unique_ptr<H2Stream> on_new_stream() override { return nullptr; }
  void on_goaway() override;
  void on_capacity() override;
  void on_session_end() override { owner_.client_closed(*this); }

  H2ClientOwner& owner_;
  const bool mesh_;
  bool retired_ = false;
  Loop::Clock::time_point idle_since_;
};

}  // namespace heddle::proxy::http
