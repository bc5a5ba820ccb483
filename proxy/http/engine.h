// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proxy/http/deadlines.h"
#include "proxy/http/message.h"
#include "proxy/io/loop.h"

namespace heddle::proxy::http {

class Engine;
struct TurnQueue;

// Something that has work once per turn of the loop: to write what was gathered, to go on reading.
class TurnItem {
 public:
  virtual void on_turn() = 0;

 protected:
  TurnItem() = default;
  TurnItem(const TurnItem&) = delete;
  TurnItem& operator=(const TurnItem&) = delete;
  ~TurnItem();

 private:
  friend class Engine;
  friend struct TurnQueue;
  // Of the share on whose behalf it was scheduled first.
  std::shared_ptr<TurnQueue> queue_;
  TurnItem* previous_ = nullptr;
  TurnItem* next_ = nullptr;
  std::uint32_t turn_ = 0;  // its queue's when it was queued
  bool queued_ = false;
};

// One share's items, in order of arrival.
struct TurnQueue {
  void push(TurnItem& item);
  void unlink(TurnItem& item);
  ShareRef share;
  Engine* engine = nullptr;  // null once it is destroyed
  TurnItem* first = nullptr;
  TurnItem* last = nullptr;
  std::uint32_t turn = 0;
  bool due = false;  // its turn is deferred
  bool cut = false;  // in the middle of a turn
};

// What dies at the end of the turn, when nobody is inside it any more.
class Buried {
 public:
  virtual ~Buried() = default;
};

// How long peers may take. Zero: for ever.
struct Timeouts {
  std::chrono::milliseconds head{30'000};     // for a request's head from its first byte, HTTP/2's handshake
  std::chrono::milliseconds idle{3'600'000};  // a client's connection without a request
  // Between looks at a connection that is over but for its last bytes.
  std::chrono::milliseconds closing_look{1'000};
  // For a receiver of what waits to take some of it. Who has nothing waiting may be silent for ever.
  std::chrono::milliseconds stall{300'000};
};

// What all HTTP codecs of one worker share. Costs one Loop::defer per turn and share (proxy/io/loop.h),
// however many connections have work. A share's turn is cut when it has used what it may, and goes on before
// anything new of the share's is read.
class Engine {
 public:
  // `scratch`: for one read at a time, at least 16 KiB.
  Engine(Loop& loop, std::span<std::byte> scratch, Timeouts timeouts = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  Loop& loop() { return loop_; }
  Loop::Clock::time_point now() const { return loop_.now(); }
  std::span<std::byte> scratch() { return scratch_; }

  // on_turn() once, at the end of this turn (of the next one when called from on_turn()).
  void schedule(TurnItem& item);
  void bury(std::unique_ptr<Buried> dead);

  // Empty buffers with capacity, so that a busy connection neither keeps nor allocates one. At most 64 are
  // kept.
  std::string take_buffer();
  void give_buffer(std::string&& buffer);

  DeadlineList& heads() { return heads_; }
  DeadlineList& idle() { return idle_; }
  // Short looks at connections that are over but for their last bytes.
  DeadlineList& closing() { return closing_; }
  DeadlineList& stalls() { return stalls_; }
  // Between proxies: by then those at the ends have told whose fault it is.
  DeadlineList& mesh_stalls() { return mesh_stalls_; }

  // For one message at a time; whoever wants to keep it moves or swaps it out.
  RequestHead request_head;
  ResponseHead response_head;

 private:
  friend class TurnItem;
  void wake(const std::shared_ptr<TurnQueue>& queue);
  void turn(const std::shared_ptr<TurnQueue>& queue);
  bool serve_items(TurnQueue& queue);
  void clear_dead();
  const std::shared_ptr<TurnQueue>& queue_of(Share* share);

  Loop& loop_;
  std::span<std::byte> scratch_;
  std::vector<std::shared_ptr<TurnQueue>> queues_;
  std::size_t due_ = 0;      // turns, all of which end with what is dead
  bool queue_made_ = false;  // since unused ones were last forgotten
  std::vector<std::unique_ptr<Buried>> dead_;
  std::vector<std::string> buffers_;
  DeadlineList heads_, idle_, closing_, stalls_, mesh_stalls_;
};

}  // namespace heddle::proxy::http
