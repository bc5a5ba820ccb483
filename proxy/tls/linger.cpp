// SPDX-License-Identifier: Apache-2.0
#include "proxy/tls/linger.h"

#include <algorithm>
#include <array>

namespace heddle::proxy::tls {
namespace {

constexpr std::chrono::milliseconds longest{5'000};
constexpr std::size_t most = 1024;  // beyond it a connection is closed as it is

}  // namespace

class Lingering::One final : private StreamEvents {
 public:
  One(Lingering& owner, std::unique_ptr<Stream> stream, std::vector<std::byte> unsent)
      : owner_(owner),
        stream_(std::move(stream)),
        unsent_(std::move(unsent)),
        timer_(owner.loop_, [this] { end(); }) {
    stream_->set_events(this);
    timer_.arm(longest);
  }

  void advance() {
    while (sent_ < unsent_.size()) {
      const iovec rest{unsent_.data() + sent_, unsent_.size() - sent_};
      const auto wrote = stream_->write(std::span(&rest, 1));
      if (wrote.status == IoStatus::would_block) break;
      if (wrote.status != IoStatus::ok) return end();
      sent_ += wrote.size;
    }
    if (sent_ == unsent_.size() && !finished_) {
      finished_ = true;
      stream_->finish_writes();
    }
    // Whatever a peer sends after its close_notify is not ours to read (RFC 8446 6.1).
    std::array<std::byte, 512> ignored;
    for (int i = 0; i < 16; ++i) {
      const auto got = stream_->read(ignored);
      if (got.status == IoStatus::ok) continue;
      if (got.status == IoStatus::eof) read_ended_ = true;
      if (got.status == IoStatus::error) return end();
      break;
    }
    if (finished_ && read_ended_) end();
  }

 private:
  void on_readable() override { advance(); }
  void on_writable() override { advance(); }
  void end() {
    timer_.cancel();  // once: its address may be another's by the time of a second call
    stream_->set_events(nullptr);
    owner_.done(this);
  }

  Lingering& owner_;
  std::unique_ptr<Stream> stream_;
  std::vector<std::byte> unsent_;
  std::size_t sent_ = 0;
  bool finished_ = false;
  bool read_ended_ = false;
  Timer timer_;
};

Lingering::Lingering(Loop& loop) : loop_(loop) {}
Lingering::~Lingering() = default;

std::size_t Lingering::size() const {
  return all_.size();
}

void Lingering::take(std::unique_ptr<Stream> stream, std::vector<std::byte> unsent) {
  if (all_.size() >= most) return;
  all_.push_back(std::make_unique<One>(*this, std::move(stream), std::move(unsent)));
  all_.back()->advance();
}

void Lingering::done(One* one) {
  // Later: this is called from inside it.
  loop_.defer([weak = weak_from_this(), one] {
    if (const auto self = weak.lock()) {
      std::erase_if(self->all_, [one](const auto& each) { return each.get() == one; });
    }
  });
}

}  // namespace heddle::proxy::tls
