// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "proxy/http/engine.h"
#include "proxy/io/stream.h"

namespace heddle::proxy::http {

// What a connection has to say but could not yet: gathered during a turn, written at its end, holding no
// memory while empty. Content in it is counted, so that its pusher gets the credit back when it left.
class Output {
 public:
  explicit Output(Engine& engine) : engine_(engine) {}
  ~Output() { release(); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  // To append framing to.
  std::string& text();
  // Content: gathered, or written at once together with what is gathered when it is large. `tail` follows it.
  // An error of the stream is kept for flush().
  void content(Stream& stream, std::span<const std::byte> bytes, std::string_view tail);

  enum class Flushed : std::uint8_t { all, blocked, error };
  // `last`: nothing follows. When `all` is said, finish_writes() is done too, with the last bytes if there
  // were any.
  Flushed flush(Stream& stream, bool last = false);
  // Credit to give back since the last call.
  std::size_t take_credit();
  // The exchange is over: nobody wants the credit any more.
  void forget_credit() { owed_ = 0; }
  std::size_t size() const { return buffer_.size() - sent_; }
  bool empty() const { return size() == 0; }
  std::size_t capacity() const { return buffer_.capacity(); }
  // Bytes that the stream has taken so far.
  std::uint64_t written() const { return written_; }

 private:
  void release();
  void fit();

  Engine& engine_;
  std::string buffer_;
  std::size_t sent_ = 0;  // of buffer_
  std::size_t owed_ = 0;  // content bytes not yet credited
  std::uint64_t written_ = 0;
  int error_ = 0;
  bool blocked_ = false;
};

}  // namespace heddle::proxy::http
