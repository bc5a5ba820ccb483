// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "proxy/io/loop.h"
#include "proxy/io/stream.h"

namespace heddle::proxy {
namespace {

class PrefixStream final : public Stream, private StreamEvents {
 public:
  PrefixStream(Loop& loop, std::unique_ptr<Stream> inner, std::span<const std::byte> prefix)
      : inner_(std::move(inner)),
        prefix_(prefix.empty() ? nullptr : std::make_unique<std::byte[]>(prefix.size())),
        size_(prefix.size()),
        self_(std::make_shared<PrefixStream*>(this)) {
    if (prefix_) std::copy(prefix.begin(), prefix.end(), prefix_.get());
    inner_->set_events(this);
    // The edge that brought the prefix is gone; whoever takes the stream over is told of its bytes once more.
    loop.defer([self = self_] {
      if (*self == nullptr) return;
      PrefixStream& stream = **self;
      stream.self_.reset();
      if (stream.events_ != nullptr) stream.events_->on_readable();
    });
  }
  ~PrefixStream() override {
    if (self_) *self_ = nullptr;
    inner_->set_events(nullptr);
  }

  IoResult read(std::span<std::byte> into) override {
    if (!prefix_) return inner_->read(into);
    const std::size_t size = std::min(into.size(), size_ - read_);
    std::memcpy(into.data(), prefix_.get() + read_, size);
    read_ += size;
    if (read_ == size_) prefix_.reset();
    return {IoStatus::ok, size};
  }
  IoResult write(std::span<const iovec> data) override { return inner_->write(data); }
  IoResult write_last(std::span<const iovec> data) override { return inner_->write_last(data); }
  void finish_writes() override { inner_->finish_writes(); }
  void let_go() override { inner_->let_go(); }
  void reset() override {
    prefix_.reset();
    inner_->reset();
  }
  std::size_t buffered() const override { return inner_->buffered() + (prefix_ ? size_ : 0); }
  int descriptor() const override { return inner_->descriptor(); }

 private:
  void on_readable() override {
    if (events_ != nullptr) events_->on_readable();
  }
  void on_writable() override {
    if (events_ != nullptr) events_->on_writable();
  }

  std::unique_ptr<Stream> inner_;
  std::unique_ptr<std::byte[]> prefix_;
  std::size_t size_;
  std::size_t read_ = 0;
  std::shared_ptr<PrefixStream*> self_;  // until the deferred call ran
};

}  // namespace

std::unique_ptr<Stream> with_prefix(Loop& loop, std::unique_ptr<Stream> stream,
                                    std::span<const std::byte> prefix) {
  // Without bytes the wrapper still matters: it tells the new owner of an end that was already read.
  return std::make_unique<PrefixStream>(loop, std::move(stream), prefix);
}

}  // namespace heddle::proxy
