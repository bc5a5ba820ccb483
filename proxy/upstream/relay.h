// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <span>

#include "proxy/io/loop.h"
#include "proxy/io/stream.h"
#include "proxy/pods/pod.h"
#include "proxy/telemetry/telemetry.h"

namespace heddle::proxy {

struct Worker;

// How a relay ended.
struct RelayEnd {
  std::uint64_t from_client = 0;  // bytes that reached the upstream
  std::uint64_t to_client = 0;
  bool client_first = false;  // the client's bytes were the first to be passed on
  const char* error = "";  // empty: both sides finished in order. Else "client reset", "upstream reset", ...
};

// Copies bytes between two streams until both directions ended: FIN by FIN, a reset on one side becomes a
// reset on the other. Reads into the worker's scratch; only what a short write left over is kept (at most 64
// KiB each way, less when the pod already holds much), and a direction with a remainder reads no more: a slow
// reader stops its own sender. An idle relay holds no bytes.
class Relay {
 public:
  struct Options {
    PodRef pod;  // whose buffered bytes these are
    // The counters of either side (may be null): what is read from it, what is written to it.
    std::shared_ptr<TcpSeries> client_series;
    std::shared_ptr<TcpSeries> upstream_series;
    std::chrono::milliseconds half_closed_timeout{300'000};
    std::size_t bytes_per_turn = 256 * 1024;  // then other connections have their turn
  };
  using Done = std::function<void(const RelayEnd&)>;

  // Takes both streams over; `done` is called once, from the loop, and may destroy the relay only by
  // deferring.
  Relay(Worker& worker, std::unique_ptr<Stream> client, std::unique_ptr<Stream> upstream, Options options,
        Done done);
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // Begins to copy: first what was already read from either side, then what is there. Call once.
  void start(std::span<const std::byte> from_client, std::span<const std::byte> from_upstream);
  // Resets both sides; `done` is not called.
  void abort();

 private:
  enum Way : std::size_t { upward = 0, downward = 1 };  // client to upstream, upstream to client

  struct Side final : StreamEvents {
    Relay* relay = nullptr;
    Way reads = upward;  // the direction this side's bytes take
    std::unique_ptr<Stream> stream;
    void on_readable() override { relay->pump(reads); }
    void on_writable() override { relay->pump(reads == upward ? downward : upward); }
  };

  struct Direction {
    std::unique_ptr<std::byte[]> rest;  // what a short write left: [begin, end)
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
    std::uint32_t held = 0;  // bytes accounted to the pod
    bool ended = false;      // the source's end was read
    bool finished = false;   // and passed on
    bool scheduled = false;  // a deferred turn is on its way
    std::uint64_t moved = 0;
  };

  Side& source(Way way) { return sides_[way]; }
  Side& sink(Way way) { return sides_[way == upward ? downward : upward]; }

  void pump(Way way);
  bool flush_rest(Way way);
  bool copy_once(Way way, std::size_t& budget);
  bool forward(Way way, std::span<const std::byte> bytes, bool last);
  bool keep_rest(Way way, std::span<const std::byte> bytes);
  void release_rest(Direction& direction);
  std::size_t read_size() const;
  void count(Way way, std::size_t bytes);
  void pass_end_on(Way way);
  void end_passed_on(Way way);
  void fail(const char* error);
  void check_half_closed();
  void finish(const char* error);

  Worker& worker_;
  Options options_;
  Done done_;
  std::array<Side, 2> sides_;            // the client, the upstream
  std::array<Direction, 2> directions_;  // upward, downward
  std::unique_ptr<Timer> half_closed_timer_;
  std::uint64_t moved_at_last_check_ = 0;
  bool client_first_ = false;
  std::shared_ptr<Relay*> self_;  // for deferred turns, made by the first
  bool over_ = false;
};

}  // namespace heddle::proxy
