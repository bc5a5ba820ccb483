// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "proxy/http/engine.h"
#include "proxy/http/exchange.h"
#include "proxy/http/h1_format.h"
#include "proxy/http/output.h"
#include "proxy/pods/byte_budget.h"

namespace heddle::proxy::http {

class H1Client;

// Whoever holds an H1Client: a pool, or one request.
class H1ClientOwner {
 public:
  // It can take another request.
  virtual void client_idle(H1Client& client) = 0;
  // It is closed; nothing will be called any more. Destroy it from the loop (Engine::bury).
  virtual void client_closed(H1Client& client) = 0;

 protected:
  ~H1ClientOwner() = default;
};

// The client side of an HTTP/1 connection: one exchange at a time. Idle it holds no buffer and notices the
// server's close.
class H1Client final : public Buried,
                       public Client,
                       private Peer,
                       private StreamEvents,
                       private TurnItem,
                       private Deadline {
 public:
  H1Client(Engine& engine, std::unique_ptr<Stream> stream, H1ClientOwner& owner, ByteBudget budget = {});
  ~H1Client() override;

  // Only while idle().
  Peer* start(const RequestHead& head, bool end, ResponsePeer& requester) override;
  bool idle() const { return !in_exchange_ && !closed_; }
  // Resets the connection; a running exchange is aborted. client_closed() is not called.
  void close();

 private:
  void on_readable() override;
  void on_writable() override;
  void on_turn() override;
  // Of an answer's head, from its first byte to its last: the first may take as long as it likes. Of a
  // request's content: some of what waits must be taken.
  void on_deadline() override;
  // Peer: the request's content
  void data(std::span<const std::byte> bytes, bool end) override;
  void trailers(Fields&& trailers) override;
  void abort(Abort reason) override;
  void consumed(std::size_t bytes) override;

  void read();
  void feed(std::string_view input);
  std::size_t feed_head(std::string_view input);
  std::size_t feed_content(std::string_view input);
  void on_read_end();
  void request_ended();
  void end_response();
  void fail(Abort reason);
  void flush();
  void watch_reader(bool blocked);
  void end();
  void account() { held_.set(output_.size() + carry_.size()); }

  Engine& engine_;
  std::unique_ptr<Stream> stream_;
  H1ClientOwner& owner_;
  ResponsePeer* requester_ = nullptr;  // while the exchange is not over
  Output output_;
  HeldBytes held_;
  std::string carry_;  // an incomplete head
  std::size_t searched_ = 0;
  ContentReader content_;
  std::size_t unconsumed_ = 0;      // of the response's content
  std::uint64_t seen_written_ = 0;  // of output_, when the server's reading was last looked at
  bool in_exchange_ = false;
  bool request_ended_ = false;
  bool responded_ = false;
  bool answered_ = false;  // a byte of an answer came
  bool chunked_ = false;
  bool head_request_ = false;
  bool connect_request_ = false;
  bool upgrade_request_ = false;
  bool keep_alive_ = true;
  bool reused_ = false;
  bool want_read_ = false;
  bool blocked_ = false;  // the server has not read what the socket holds
  bool closed_ = false;
};

}  // namespace heddle::proxy::http
