// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/h2_tunnel.h"

#include <nghttp2/nghttp2.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "base/log.h"

namespace heddle::proxy::http {
namespace {

// How much write() takes before a turn has sent it: two reads, or each would cost a turn of its own.
constexpr std::size_t write_ahead = 2 * most_read;
// A stream that carried this much is bulk and gets the large window.
constexpr std::uint32_t bulky = 256 * 1024;

}  // namespace

TunnelEnd::TunnelEnd(Engine& engine, Side side)
    : engine_(engine), answer_(side == Side::client ? std::make_unique<Answer>() : nullptr) {
  be_patient();
}

TunnelEnd::~TunnelEnd() {
  if (stream_ != nullptr) {
    stream_->end_ = nullptr;
    stream_->broke(ECONNRESET);
  }
}

std::unique_ptr<Stream> TunnelEnd::take_stream() {
  auto stream = std::make_unique<TunnelStream>(engine_, *this, session_->budget());
  stream_ = stream.get();
  return stream;
}

void TunnelEnd::on_header(std::string_view name, std::string_view value) {
  if (!answer_) return;
  if (name == ":status") std::from_chars(value.data(), value.data() + value.size(), answer_->status);
  if (name == "l5d-proxy-error" && value.size() < 256) answer_->error = value;
}

void TunnelEnd::on_headers_end(bool end_stream) {
  if (answer_ && answer_->status >= 200) {
    const auto answer = std::move(answer_);
    if (answer->status >= 300) return refused(answer->error);
  }
  if (end_stream) on_end();
}

void TunnelEnd::refused(const std::string& error) {
  spdlog::info(
      "mesh: tunnel refused by the peer's proxy reason=\"{}\" next=\"check the policy of the target pod\"",
      error);
  if (TunnelStream* stream = std::exchange(stream_, nullptr)) {
    stream->end_ = nullptr;
    stream->broke(ECONNREFUSED);
  }
  reset(NGHTTP2_CANCEL);
}

void TunnelEnd::on_data(std::span<const std::byte> bytes) {
  // Nobody reads any more: the credit keeps the sender going until it notices the reset.
  if (stream_ == nullptr) return return_credit(bytes.size());
  stream_->arrived(bytes);
}

void TunnelEnd::on_end() {
  if (stream_ != nullptr) stream_->ended();
}

void TunnelEnd::on_sent(std::size_t) {
  if (stream_ != nullptr) stream_->writable();
}

void TunnelEnd::on_close(std::uint32_t error_code) {
  if (stream_ == nullptr) return;
  TunnelStream* stream = std::exchange(stream_, nullptr);
  stream->end_ = nullptr;
  // Closed without an error after both ends: what was received is still there to be read.
  if (error_code == NGHTTP2_NO_ERROR && stream->end_received_) return;
  spdlog::debug("mesh: tunnel reset stream={} by_peer={} error={}", id_, reset_by_peer(),
                nghttp2_http2_strerror(error_code));
  stream->broke(ECONNRESET);
}

void TunnelEnd::widen() {
  if (session_ != nullptr) session_->widen(id_, mesh_bulk_window);
}

TunnelStream::~TunnelStream() {
  if (!in_.empty()) engine_.give_buffer(std::move(in_));
  if (end_ == nullptr) return;
  TunnelEnd* end = std::exchange(end_, nullptr);
  end->stream_ = nullptr;
  // Both directions ended: what write() took is still sent by the session. Otherwise the other side must
  // know.
  if (!(end_sent_ && end_received_ && end_read_)) end->reset(NGHTTP2_CANCEL);
}

IoResult TunnelStream::read(std::span<std::byte> into) {
  const std::size_t ready = in_.size() - in_read_;
  if (ready == 0) {
    if (error_ != 0) return {IoStatus::error, 0, error_};
    if (end_received_) {
      end_read_ = true;
      return {IoStatus::eof};
    }
    return {into.empty() ? IoStatus::ok : IoStatus::would_block};
  }
  if (error_ != 0) return {IoStatus::error, 0, error_};
  const std::size_t size = std::min(ready, into.size());
  std::memcpy(into.data(), in_.data() + in_read_, size);
  in_read_ += static_cast<std::uint32_t>(size);
  held_.remove(size);
  if (in_read_ == in_.size()) {
    engine_.give_buffer(std::move(in_));
    in_ = std::string();
    in_read_ = 0;
  }
  if (end_ != nullptr) {
    end_->return_credit(size);
    if (total_read_ < bulky && !held_.budget().tight()) {
      total_read_ += static_cast<std::uint32_t>(size);
      if (total_read_ >= bulky) end_->widen();
    }
  }
  return {IoStatus::ok, size};
}

IoResult TunnelStream::write(std::span<const iovec> data) {
  if (error_ != 0) return {IoStatus::error, 0, error_};
  if (end_ == nullptr || end_sent_) return {IoStatus::error, 0, EPIPE};
  std::size_t wanted = 0;
  std::size_t taken = 0;
  for (const iovec& part : data) {
    wanted += part.iov_len;
    const std::size_t unsent = end_->unsent();
    const std::size_t room = held_.budget().content_room(write_ahead, unsent);
    const std::size_t size = std::min(room, part.iov_len);
    if (size != 0) end_->send({static_cast<const std::byte*>(part.iov_base), size}, false);
    taken += size;
    if (size < part.iov_len) break;
  }
  if (taken < wanted) want_write_ = true;
  if (taken == 0 && wanted != 0) return {IoStatus::would_block};
  return {IoStatus::ok, taken};
}

void TunnelStream::finish_writes() {
  if (end_sent_ || error_ != 0) return;
  end_sent_ = true;
  if (end_ != nullptr) end_->send({}, true);
}

void TunnelStream::reset() {
  if (error_ == 0) error_ = ECONNRESET;
  drop_unread();
  if (end_ == nullptr) return;
  TunnelEnd* end = std::exchange(end_, nullptr);
  end->stream_ = nullptr;
  end->reset(NGHTTP2_CONNECT_ERROR);
}

std::size_t TunnelStream::buffered() const {
  return in_.capacity() + (end_ != nullptr ? end_->unsent() : 0);
}

void TunnelStream::arrived(std::span<const std::byte> bytes) {
  if (in_.empty() && in_.capacity() < 512) in_ = engine_.take_buffer();
  if (in_read_ > in_.size() / 2) {
    in_.erase(0, in_read_);
    in_read_ = 0;
  }
  in_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  held_.add(bytes.size());
  tell_readable_ = true;
  engine_.schedule(*this);
}

void TunnelStream::drop_unread() {
  in_ = std::string();
  in_read_ = 0;
  held_.set(0);
}

void TunnelStream::ended() {
  end_received_ = true;
  tell_readable_ = true;
  engine_.schedule(*this);
}

void TunnelStream::broke(int error) {
  if (error_ != 0) return;
  error_ = error;
  drop_unread();
  tell_readable_ = true;
  // Who read the end already listens for room to write only.
  if (std::exchange(want_write_, false)) tell_writable_ = true;
  engine_.schedule(*this);
}

void TunnelStream::writable() {
  if (!want_write_ || end_ == nullptr || end_->unsent() >= write_ahead / 2) return;
  want_write_ = false;
  tell_writable_ = true;
  engine_.schedule(*this);
}

void TunnelStream::on_turn() {
  const bool writable = std::exchange(tell_writable_, false);
  // Either call may destroy this stream: the second one goes by the next turn.
  if (std::exchange(tell_readable_, false)) {
    if (writable) {
      tell_writable_ = true;
      engine_.schedule(*this);
    }
    if (events_ != nullptr) events_->on_readable();
    return;
  }
  if (writable && events_ != nullptr) events_->on_writable();
}

}  // namespace heddle::proxy::http
