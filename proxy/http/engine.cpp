// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/engine.h"

#include <utility>

namespace heddle::proxy::http {
namespace {

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
      stalls_(loop, timeouts.stall),
      mesh_stalls_(loop, 2 * timeouts.stall) {}

Engine::~Engine() {
  for (const auto& queue : queues_) queue->engine = nullptr;
  // Burying may bury more.
  while (!dead_.empty()) {
    auto dead = std::move(dead_);
    dead_.clear();
  }
  for (const auto& queue : queues_) {
    while (queue->first != nullptr) queue->unlink(*queue->first);
    queue->share = {};
  }
}

void Engine::wake(const std::shared_ptr<TurnQueue>& queue) {
  if (std::exchange(queue->due, true)) return;
  ++due_;
  const Loop::OnBehalf behalf(loop_, queue->share.get());
  loop_.defer([queue] {
    if (queue->engine != nullptr) queue->engine->turn(queue);
  });
}

void Engine::schedule(TurnItem& item) {
  if (item.queued_) return;
  // Made on nobody's behalf (discovery answered, a time was over) it belongs to whom its events are.
  if (!item.queue_ || (!item.queue_->share && loop_.current() != nullptr))
    item.queue_ = queue_of(loop_.current());
  item.turn_ = item.queue_->turn;
  item.queue_->push(item);
  wake(item.queue_);
}

const std::shared_ptr<TurnQueue>& Engine::queue_of(Share* share) {
  for (const auto& queue : queues_) {
    if (queue->share.get() == share) return queue;
  }
  queue_made_ = true;
  auto queue = std::make_shared<TurnQueue>();
  queue->share = ShareRef(share);
  queue->engine = this;
  return queues_.emplace_back(std::move(queue));
}

void Engine::bury(std::unique_ptr<Buried> dead) {
  dead_.push_back(std::move(dead));
  if (due_ == 0) wake(queue_of(loop_.current()));
}

void Engine::turn(const std::shared_ptr<TurnQueue>& queue) {
  const bool all = serve_items(*queue);
  clear_dead();
  if (!all) return loop_.again();
  // What is buried meanwhile is gone by now, so it was no reason for another turn.
  queue->due = false;
  --due_;
  if (queue->first != nullptr) wake(queue);
  if (!dead_.empty() && due_ == 0) wake(queue);
  if (std::exchange(queue_made_, false)) {
    std::erase_if(queues_, [](const auto& each) { return each.use_count() == 1; });
  }
}

void Engine::clear_dead() {
  auto dead = std::move(dead_);
  dead_.clear();
  dead.clear();
  if (dead_.empty()) dead_ = std::move(dead);  // keeps the capacity
}

// False when the share has used what it may before all were served. What is scheduled meanwhile waits for the
// next turn, so that descriptors get theirs: but only when all of this one are served. Were some left behind
// while more is read, streams that have ended would pile up in front of the connection that has to send so.
bool Engine::serve_items(TurnQueue& queue) {
  if (!std::exchange(queue.cut, false)) ++queue.turn;
  while (queue.first != nullptr && queue.first->turn_ != queue.turn) {
    TurnItem& item = *queue.first;
    queue.unlink(item);
    item.on_turn();
    if (!loop_.used_up()) continue;
    queue.cut = queue.first != nullptr && queue.first->turn_ != queue.turn;
    return !queue.cut;
  }
  return true;
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
