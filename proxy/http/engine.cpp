// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/engine.h"

#include <utility>

namespace heddle::proxy::http {
namespace {

constexpr int most_unmeasured = 8;  // items of one share, as long as nobody else has any
constexpr std::size_t kept_buffers = 64;
constexpr std::size_t kept_buffer_size = 128 * 1024;

}  // namespace

TurnItem::~TurnItem() {
  if (queued_) queue_->unlink(*this);
}

void TurnQueue::push(TurnItem& item) {
  item.queued_ = true;
  item.previous_ = last;
  item.next_ = nullptr;
  (last != nullptr ? last->next_ : first) = &item;
  last = &item;
}

void TurnQueue::unlink(TurnItem& item) {
  (item.previous_ != nullptr ? item.previous_->next_ : first) = item.next_;
  (item.next_ != nullptr ? item.next_->previous_ : last) = item.previous_;
  item.queued_ = false;
  item.previous_ = item.next_ = nullptr;
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
  for (const auto& queue : queues_) {
    while (queue->first != nullptr) queue->unlink(*queue->first);
    ready_.remove(*queue);
    queue->share = {};
  }
}

void Engine::wake() {
  if (awake_) return;  // a turn is due, or looks by itself at its end
  awake_ = true;
  loop_.defer([self = self_] {
    if (*self != nullptr) (*self)->turn();
  });
}

void Engine::schedule(TurnItem& item) {
  if (item.queued_) return;
  // Made on nobody's behalf (discovery answered, a time was over) it belongs to whom its events are.
  if (!item.queue_ || (!item.queue_->share && loop_.current() != nullptr))
    item.queue_ = queue_of(loop_.current());
  item.turn_ = turn_;
  item.queue_->push(item);
  ready_.add(*item.queue_);
  wake();
}

std::shared_ptr<TurnQueue> Engine::queue_of(Share* share) {
  for (const auto& queue : queues_) {
    if (queue->share.get() == share) return queue;
  }
  queue_made_ = true;
  auto queue = std::make_shared<TurnQueue>();
  queue->share = ShareRef(share);
  if (share != nullptr) queue->weight = share->weight;
  queues_.push_back(queue);
  return queue;
}

void Engine::bury(std::unique_ptr<Buried> dead) {
  dead_.push_back(std::move(dead));
  wake();
}

void Engine::turn() {
  awake_ =
      true;  // until the end: what is buried meanwhile is gone by then, so it is no reason for another turn
  serve_items();
  auto dead = std::move(dead_);
  dead_.clear();
  dead.clear();
  if (dead_.empty()) dead_ = std::move(dead);  // keeps the capacity
  awake_ = false;
  if (!ready_.empty() || !dead_.empty()) wake();
  if (std::exchange(queue_made_, false)) {
    std::erase_if(queues_, [](const auto& queue) { return queue.use_count() == 1 && !queue->waits(); });
  }
}

// What is scheduled meanwhile waits for the next turn, so that descriptors get theirs. All of the others are
// served, only their order is the shares': were some left behind while more is read, streams that have ended
// would pile up in front of the connection that has to send so.
void Engine::serve_items() {
  ++turn_;
  const bool shared = loop_.shared();
  int unmeasured = 0;
  auto since = ready_.contended() ? Loop::Clock::now() : loop_.now();
  while (FairRing::Member* next = ready_.next()) {
    TurnQueue& queue = static_cast<TurnQueue&>(*next);
    if (queue.first == nullptr || queue.first->turn_ == turn_) {
      ready_.remove(queue);
      if (queue.first != nullptr) later_.push_back(&queue);
      continue;
    }
    TurnItem& item = *queue.first;
    queue.unlink(item);
    const Loop::OnBehalf behalf(loop_, queue.share.get());
    item.on_turn();
    if (!shared || (++unmeasured < most_unmeasured && !ready_.contended())) continue;
    unmeasured = 0;
    const auto now = Loop::Clock::now();
    ready_.charge(queue, now - std::exchange(since, now));
  }
  for (TurnQueue* queue : later_) ready_.add(*queue);
  later_.clear();
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
