// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/engine.h"

namespace heddle::proxy::http {
namespace {

constexpr std::size_t kept_buffers = 64;
constexpr std::size_t kept_buffer_size = 128 * 1024;

}  // namespace

TurnItem::~TurnItem() {
  if (queued_in_ != nullptr) queued_in_->unlink(*this);
}

Engine::Engine(Loop& loop, std::span<std::byte> scratch, Timeouts timeouts)
    : loop_(loop),
      scratch_(scratch),
      heads_(loop, timeouts.head),
      idle_(loop, timeouts.idle),
      closing_(loop, timeouts.closing_look),
      self_(std::make_shared<Engine*>(this)) {}

Engine::~Engine() {
  *self_ = nullptr;
  // Burying may bury more.
  while (!dead_.empty()) {
    auto dead = std::move(dead_);
    dead_.clear();
  }
  while (first_ != nullptr) unlink(*first_);
}

void Engine::wake() {
  if (awake_) return;  // a turn is due, or looks by itself at its end
  awake_ = true;
  loop_.defer([self = self_] {
    if (*self != nullptr) (*self)->turn();
  });
}

void Engine::schedule(TurnItem& item) {
  if (item.queued_in_ != nullptr) return;
  item.queued_in_ = this;
  item.previous_ = last_;
  item.next_ = nullptr;
  (last_ != nullptr ? last_->next_ : first_) = &item;
  last_ = &item;
  wake();
}

void Engine::unlink(TurnItem& item) {
  (item.previous_ != nullptr ? item.previous_->next_ : first_) = item.next_;
  (item.next_ != nullptr ? item.next_->previous_ : last_) = item.previous_;
  item.queued_in_ = nullptr;
  item.previous_ = item.next_ = nullptr;
}

void Engine::bury(std::unique_ptr<Buried> dead) {
  dead_.push_back(std::move(dead));
  wake();
}

void Engine::turn() {
  // Up to the one that is last now; what comes later waits for the next turn, so that other descriptors get
  // theirs. A marker of our own stands for "now", because items may vanish meanwhile.
  class Marker final : public TurnItem {
   public:
    void on_turn() override {}
  } marker;
  awake_ =
      true;  // until the end: what was buried meanwhile is gone by then, so it is no reason for another turn
  schedule(marker);
  while (first_ != nullptr && first_ != &marker) {
    TurnItem& item = *first_;
    unlink(item);
    item.on_turn();
  }
  unlink(marker);
  auto dead = std::move(dead_);
  dead_.clear();
  dead.clear();
  if (dead_.empty()) dead_ = std::move(dead);  // keeps the capacity
  awake_ = false;
  if (first_ != nullptr || !dead_.empty()) wake();
}

std::string Engine::take_buffer() {
  if (buffers_.empty()) {
    std::string fresh;
    fresh.reserve(1024);
    return fresh;
  }
  std::string buffer = std::move(buffers_.back());
  buffers_.pop_back();
  return buffer;
}

void Engine::give_buffer(std::string&& buffer) {
  if (buffers_.size() >= kept_buffers || buffer.capacity() < 512 || buffer.capacity() > kept_buffer_size) {
    buffer = std::string();
    return;
  }
  buffer.clear();
  buffers_.push_back(std::move(buffer));
}

}  // namespace heddle::proxy::http
