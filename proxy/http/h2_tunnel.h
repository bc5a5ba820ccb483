// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "proxy/http/engine.h"
#include "proxy/http/h2_session.h"
#include "proxy/io/stream.h"

namespace heddle::proxy::http {

class TunnelStream;

// A CONNECT stream (RFC 9113 8.5) within its session. The two halves find each other until either goes: the
// session may end before the Stream's owner lets go, and the owner may let go before the session knows.
class TunnelEnd final : public H2Stream {
 public:
  // The client's side does not wait for the far proxy's 200, which comes at once anyway: bytes may follow the
  // request immediately; any other answer resets the stream.
  enum class Side : std::uint8_t { client, server };
  TunnelEnd(Engine& engine, Side side);
  ~TunnelEnd() override;
  // The bytes; once.
  std::unique_ptr<Stream> take_stream();
  // The peer's head was its last word.
  void end_received() { on_end(); }

 private:
  friend class TunnelStream;
  void on_header(std::string_view name, std::string_view value) override;
  void on_headers_end(bool end_stream) override;
  void on_data(std::span<const std::byte> bytes) override;
  void on_end() override;
  void on_sent(std::size_t bytes) override;
  void on_close(std::uint32_t error_code) override;
  using H2Stream::reset;
  using H2Stream::return_credit;
  using H2Stream::send;
  using H2Stream::unsent;
  bool alive() const { return session_ != nullptr; }
  void widen();
  void refused(const std::string& error);

  Engine& engine_;
  TunnelStream* stream_ = nullptr;
  struct Answer {
    std::uint16_t status = 0;
    std::string error;
  };
  std::unique_ptr<Answer> answer_;  // while the client's side waits for it
};

// The bytes of a CONNECT stream. Idle it holds no buffer.
class TunnelStream final : public Stream, private TurnItem {
 public:
  TunnelStream(Engine& engine, TunnelEnd& end, ByteBudget budget)
      : engine_(engine), end_(&end), held_(std::move(budget)) {}
  ~TunnelStream() override;

  IoResult read(std::span<std::byte> into) override;
  IoResult write(std::span<const iovec> data) override;
  void finish_writes() override;
  void reset() override;
  std::size_t buffered() const override;

 private:
  friend class TunnelEnd;
  void on_turn() override;
  void arrived(std::span<const std::byte> bytes);
  void ended();
  void drop_unread();
  void broke(int error);
  void writable();

  Engine& engine_;
  TunnelEnd* end_;
  std::string in_;
  HeldBytes held_;  // what of in_ was not read
  std::uint32_t in_read_ = 0;
  std::uint32_t total_read_ = 0;  // saturates at what makes it bulky
  int error_ = 0;
  bool end_received_ = false;
  bool end_read_ = false;
  bool end_sent_ = false;
  bool want_write_ = false;
  bool tell_readable_ = false;
  bool tell_writable_ = false;
};

}  // namespace heddle::proxy::http
