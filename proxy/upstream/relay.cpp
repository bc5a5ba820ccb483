// SPDX-License-Identifier: Apache-2.0
#include "proxy/upstream/relay.h"

#include <algorithm>
#include <cstring>

#include "proxy/worker.h"

namespace heddle::proxy {
namespace {

iovec to_iovec(std::span<const std::byte> bytes) {
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

}  // namespace

Relay::Relay(Worker& worker, std::unique_ptr<Stream> client, std::unique_ptr<Stream> upstream,
             Options options, Done done)
    : worker_(worker), options_(std::move(options)), done_(std::move(done)) {
  sides_[0].stream = std::move(client);
  sides_[1].stream = std::move(upstream);
  sides_[1].reads = downward;
  for (Side& side : sides_) {
    side.relay = this;
    side.stream->set_events(&side);
  }
}

Relay::~Relay() {
  if (self_) *self_ = nullptr;
  for (Direction& direction : directions_) release_rest(direction);
  for (Side& side : sides_) {
    if (side.stream) side.stream->set_events(nullptr);
  }
}

void Relay::start(std::span<const std::byte> from_client, std::span<const std::byte> from_upstream) {
  if (!from_client.empty()) forward(upward, from_client, false);
  if (!over_ && !from_upstream.empty()) forward(downward, from_upstream, false);
  pump(upward);
  pump(downward);
}

void Relay::abort() {
  if (over_) return;
  over_ = true;
  for (Side& side : sides_) side.stream->reset();
}

void Relay::pump(Way way) {
  if (over_ || !flush_rest(way)) return;
  std::size_t budget = options_.bytes_per_turn;
  while (budget > 0) {
    if (!copy_once(way, budget)) return;
  }
  // More may be there, and no edge will tell: go on after the others had their turn.
  Direction& direction = directions_[way];
  if (std::exchange(direction.scheduled, true)) return;
  if (!self_) self_ = std::make_shared<Relay*>(this);
  worker_.loop.go_on([self = self_, way] {
    if (*self == nullptr) return;
    (*self)->directions_[way].scheduled = false;
    (*self)->pump(way);
  });
}

// True when nothing is left over and reading may go on.
bool Relay::flush_rest(Way way) {
  Direction& direction = directions_[way];
  while (direction.rest) {
    const iovec data =
        to_iovec(std::span(direction.rest.get() + direction.begin, direction.end - direction.begin));
    const IoResult written = sink(way).stream->write({&data, 1});
    if (written.status == IoStatus::would_block) return false;
    if (written.status != IoStatus::ok) {
      fail(way == upward ? "upstream reset" : "client reset");
      return false;
    }
    count(way, written.size);
    direction.begin += static_cast<std::uint32_t>(written.size);
    if (direction.begin == direction.end) release_rest(direction);
  }
  if (direction.ended && !direction.finished) pass_end_on(way);
  return !direction.ended && !over_;
}

// One read and its write. False when there is nothing to do now.
bool Relay::copy_once(Way way, std::size_t& budget) {
  const auto room = std::span(worker_.scratch).first(std::min(read_size(), budget));
  const IoResult got = source(way).stream->read(room);
  switch (got.status) {
    case IoStatus::would_block:
      return false;
    case IoStatus::error:
      fail(way == upward ? "client reset" : "upstream reset");
      return false;
    case IoStatus::eof:
      directions_[way].ended = true;
      pass_end_on(way);
      return false;
    case IoStatus::ok:
      break;
  }
  budget -= got.size;
  return forward(way, std::span<const std::byte>(room).first(got.size), got.last);
}

// Writes; what is not taken is kept. True when more may be read and written.
bool Relay::forward(Way way, std::span<const std::byte> bytes, bool last) {
  directions_[way].ended = last;
  const iovec data = to_iovec(bytes);
  Stream& to = *sink(way).stream;
  const IoResult written = last ? to.write_last({&data, 1}) : to.write({&data, 1});
  std::size_t taken = 0;
  if (written.status == IoStatus::ok) {
    taken = written.size;
    count(way, taken);
  } else if (written.status != IoStatus::would_block) {
    fail(way == upward ? "upstream reset" : "client reset");
    return false;
  }
  if (taken < bytes.size()) return keep_rest(way, bytes.subspan(taken));
  if (last) end_passed_on(way);
  return !last;
}

// Keeps what was not written and asks for the edge; true when it went out after all.
bool Relay::keep_rest(Way way, std::span<const std::byte> bytes) {
  Direction& direction = directions_[way];
  direction.rest = std::make_unique_for_overwrite<std::byte[]>(bytes.size());
  std::memcpy(direction.rest.get(), bytes.data(), bytes.size());
  direction.begin = 0;
  direction.end = direction.held = static_cast<std::uint32_t>(bytes.size());
  options_.pod->load->buffered_bytes.fetch_add(direction.held, std::memory_order_relaxed);
  return flush_rest(way);
}

void Relay::release_rest(Direction& direction) {
  if (!direction.rest) return;
  direction.rest.reset();
  options_.pod->load->buffered_bytes.fetch_sub(direction.held, std::memory_order_relaxed);
  direction.held = 0;
}

// A share of what the pod may still hold, so that many slow readers together stay within its limit.
std::size_t Relay::read_size() const {
  return worker_.budget(*options_.pod).read_size(worker_.scratch.size());
}

void Relay::count(Way way, std::size_t bytes) {
  if (directions_[upward].moved + directions_[downward].moved == 0) client_first_ = way == upward;
  directions_[way].moved += bytes;
  TcpSeries* client = options_.client_series.get();
  TcpSeries* upstream = options_.upstream_series.get();
  if (client != nullptr) (way == upward ? client->read_bytes : client->write_bytes).add(bytes);
  if (upstream != nullptr) (way == upward ? upstream->write_bytes : upstream->read_bytes).add(bytes);
}

void Relay::pass_end_on(Way way) {
  sink(way).stream->finish_writes();
  end_passed_on(way);
}

void Relay::end_passed_on(Way way) {
  directions_[way].finished = true;
  if (directions_[upward].finished && directions_[downward].finished) {
    finish("");
    return;
  }
  half_closed_timer_ = std::make_unique<Timer>(worker_.loop, [this] { check_half_closed(); });
  moved_at_last_check_ = directions_[0].moved + directions_[1].moved;
  half_closed_timer_->arm(options_.half_closed_timeout);
}

void Relay::check_half_closed() {
  if (over_) return;
  const std::uint64_t moved = directions_[0].moved + directions_[1].moved;
  if (moved == moved_at_last_check_) {
    fail("half-closed and idle");
    return;
  }
  moved_at_last_check_ = moved;
  half_closed_timer_->arm(options_.half_closed_timeout);
}

void Relay::fail(const char* error) {
  if (over_) return;
  for (Side& side : sides_) side.stream->reset();
  finish(error);
}

void Relay::finish(const char* error) {
  if (over_) return;
  over_ = true;
  for (Side& side : sides_) side.stream->set_events(nullptr);
  for (Direction& direction : directions_) release_rest(direction);
  if (done_) done_({directions_[upward].moved, directions_[downward].moved, client_first_, error});
}

}  // namespace heddle::proxy
