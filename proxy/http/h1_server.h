// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "proxy/http/codec.h"
#include "proxy/http/engine.h"
#include "proxy/http/exchange.h"
#include "proxy/http/farewell.h"
#include "proxy/http/h1_format.h"
#include "proxy/http/output.h"
#include "proxy/pods/byte_budget.h"

namespace heddle::proxy::http {

// The server side of an HTTP/1 connection: one exchange at a time, pipelined requests wait in order (at most
// 64 KiB of them are read). Idle it holds no buffer.
class H1Server final : public ServerCodec,
                       private ResponsePeer,
                       private StreamEvents,
                       private TurnItem,
                       private Deadline {
 public:
  H1Server(Engine& engine, std::unique_ptr<Stream> stream, Handler& handler, ServerOwner& owner,
           ByteBudget budget);
  ~H1Server() override;
  void drain() override;
  void end_idle() override;
  void abort() override;

 private:
  // StreamEvents
  void on_readable() override;
  void on_writable() override;
  // TurnItem
  void on_turn() override;
  // Deadline
  void on_deadline() override;
  // ResponsePeer
  void inform(const ResponseHead& head) override;
  void respond(ResponseHead& head, bool end) override;
  void switched(std::unique_ptr<Stream> upstream) override;
  void data(std::span<const std::byte> bytes, bool end) override;
  void trailers(Fields&& trailers) override;
  void abort(Abort reason) override;
  void consumed(std::size_t bytes) override;

  void read();
  void close_if_idle_ends();
  std::size_t read_limit() const;
  void feed(std::string_view input);
  // Each uses a prefix of `input` and returns its size; 0: wait for more.
  std::size_t feed_head(std::string_view input);
  std::size_t feed_content(std::string_view input);
  void start(std::string_view head_text);
  void on_read_end();
  void end_response();
  void finish_exchange();
  void refuse(std::uint16_t status, const std::string& why);
  void flush();
  void watch();
  void watch_reader(bool blocked);
  void account();
  void linger();
  void close_now();
  void end();

  Engine& engine_;
  std::unique_ptr<Stream> stream_;
  Handler& handler_;
  ServerOwner& owner_;
  Peer* request_ = nullptr;  // the answerer, while the exchange is not over
  Output output_;
  HeldBytes held_;
  std::string carry_;  // read but not yet used: an incomplete head, or pipelined requests
  std::size_t searched_ = 0;
  ContentReader content_;
  std::size_t unconsumed_ = 0;          // of the request's content
  std::size_t discarded_ = 0;           // content read after the exchange was over
  std::uint64_t seen_written_ = 0;      // of output_, when the client's reading was last looked at
  std::unique_ptr<Stream> upstream_;    // after a switch, until the 101 is written
  std::unique_ptr<Farewell> farewell_;  // has the stream once all is said
  bool in_exchange_ = false;            // a request is here whose response or content has not ended
  bool responded_ = false;
  bool response_ended_ = false;
  bool chunked_ = false;
  bool head_request_ = false;
  bool connect_request_ = false;
  bool http1_0_ = false;
  bool keep_alive_ = true;
  bool last_word_ = false;  // the client said of this request that it is its last
  bool expects_continue_ = false;
  bool draining_ = false;
  bool idle_ends_ = false;  // drained for long: waiting for a request is over
  bool started_ = false;    // a request has come on this connection
  bool want_read_ = false;
  bool read_ended_ = false;
  bool closing_ = false;    // close when the output is written
  bool lingering_ = false;  // our half is closed
  bool closed_ = false;
  bool feeding_ = false;
  bool blocked_ = false;  // the client has not read what the socket holds
};

}  // namespace heddle::proxy::http
