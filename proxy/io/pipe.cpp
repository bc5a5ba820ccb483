// SPDX-License-Identifier: Apache-2.0
#include "proxy/io/pipe.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "proxy/io/loop.h"

namespace heddle::proxy {
namespace {

class PipeEnd final : public Stream {
 public:
  PipeEnd(Loop& loop, std::size_t capacity)
      : loop_(loop), capacity_(capacity), self_(std::make_shared<PipeEnd*>(this)) {}
  ~PipeEnd() override {
    *self_ = nullptr;
    if (peer_ == nullptr) return;
    const bool clean = read_ended_ && peer_->ended_;
    peer_->peer_ = nullptr;
    if (!clean) peer_->fail(ECONNRESET);
  }
  void connect(PipeEnd& peer) { peer_ = &peer; }

  IoResult read(std::span<std::byte> into) override {
    if (error_ != 0) return {IoStatus::error, 0, error_};
    const std::size_t size = std::min(into.size(), tail_ - head_);
    if (size == 0 && ended_) {
      read_ended_ = true;
      return {IoStatus::eof};
    }
    if (size == 0) return {into.empty() ? IoStatus::ok : IoStatus::would_block};
    std::memcpy(into.data(), bytes_.get() + head_, size);
    head_ += size;
    if (head_ == tail_) {
      bytes_.reset();
      head_ = tail_ = 0;
    }
    if (peer_ != nullptr && peer_->want_write_) {
      peer_->want_write_ = false;
      peer_->tell(&PipeEnd::tell_writable_);
    }
    return {IoStatus::ok, size};
  }

  IoResult write(std::span<const iovec> data) override {
    if (error_ != 0) return {IoStatus::error, 0, error_};
    if (write_ended_ || peer_ == nullptr) return {IoStatus::error, 0, EPIPE};
    std::size_t wanted = 0;
    std::size_t taken = 0;
    for (const iovec& part : data) {
      wanted += part.iov_len;
      taken += peer_->append(part);
    }
    if (taken == 0 && wanted > 0) {
      want_write_ = true;
      return {IoStatus::would_block};
    }
    if (taken > 0) peer_->tell(&PipeEnd::tell_readable_);
    return {IoStatus::ok, taken};
  }

  void finish_writes() override {
    if (write_ended_ || error_ != 0) return;
    write_ended_ = true;
    if (peer_ == nullptr) return;
    peer_->ended_ = true;
    peer_->tell(&PipeEnd::tell_readable_);
  }

  void reset() override {
    if (peer_ != nullptr) peer_->fail(ECONNRESET);
    drop(ECONNRESET);
  }

  std::size_t buffered() const override { return bytes_ ? capacity_ : 0; }

 private:
  std::size_t append(const iovec& part) {
    if (!bytes_ && part.iov_len > 0) bytes_ = std::make_unique_for_overwrite<std::byte[]>(capacity_);
    if (head_ > 0 && tail_ + part.iov_len > capacity_) {
      std::memmove(bytes_.get(), bytes_.get() + head_, tail_ - head_);
      tail_ -= head_;
      head_ = 0;
    }
    const std::size_t size = std::min(part.iov_len, capacity_ - tail_);
    if (size > 0) std::memcpy(bytes_.get() + tail_, part.iov_base, size);
    tail_ += size;
    return size;
  }

  void drop(int error) {
    if (error_ == 0) error_ = error;
    bytes_.reset();
    head_ = tail_ = 0;
  }

  void fail(int error) {
    if (error_ != 0) return;
    drop(error);
    tell(&PipeEnd::tell_readable_);
  }

  // One deferred call, however often there is something to tell.
  void tell(bool PipeEnd::* what) {
    const bool scheduled = tell_readable_ || tell_writable_;
    this->*what = true;
    if (scheduled) return;
    loop_.defer([self = self_] {
      if (*self != nullptr) deliver(self);
    });
  }

  static void deliver(const std::shared_ptr<PipeEnd*>& self) {
    PipeEnd& end = **self;
    const bool readable = std::exchange(end.tell_readable_, false);
    const bool writable = std::exchange(end.tell_writable_, false);
    if (readable && end.events_ != nullptr) end.events_->on_readable();
    if (*self == nullptr) return;
    if (writable && end.events_ != nullptr) end.events_->on_writable();
  }

  Loop& loop_;
  const std::size_t capacity_;
  PipeEnd* peer_ = nullptr;
  std::shared_ptr<PipeEnd*> self_;      // outlives this in deferred calls; null inside once destroyed
  std::unique_ptr<std::byte[]> bytes_;  // what the peer wrote and nobody read: [head_, tail_)
  std::size_t head_ = 0;
  std::size_t tail_ = 0;
  int error_ = 0;
  bool ended_ = false;       // the peer finished its writes
  bool read_ended_ = false;  // and we know
  bool write_ended_ = false;
  bool want_write_ = false;
  bool tell_readable_ = false;
  bool tell_writable_ = false;
};

}  // namespace

std::pair<std::unique_ptr<Stream>, std::unique_ptr<Stream>> make_pipe(Loop& loop, std::size_t capacity) {
  auto one = std::make_unique<PipeEnd>(loop, capacity);
  auto other = std::make_unique<PipeEnd>(loop, capacity);
  one->connect(*other);
  other->connect(*one);
  return {std::move(one), std::move(other)};
}

}  // namespace heddle::proxy
