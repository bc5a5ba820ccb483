// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "proxy/http/deadlines.h"
#include "proxy/http/engine.h"
#include "proxy/io/stream.h"

namespace heddle::proxy::http {

// Bytes that the peer has not acknowledged yet, the kernel's part included.
std::size_t unsent(const Stream& stream);
// So few may be left to a kernel that nobody asks about them any more.
inline constexpr std::size_t most_left_to_kernel = 16 * 1024;

// The end of a server-side connection whose last bytes were written. Closing with unread bytes resets, and a
// reset may overtake what is on its way: so our half is closed, whatever still comes is thrown away, and the
// descriptor is given back as soon as the peer has ended its half, or has had everything for two looks. A
// peer that still reads is waited for; one whose reading stands still for thirty looks is reset.
class Farewell final : private StreamEvents, private TurnItem, private Deadline {
 public:
  // `done` is called once, from the loop; it may destroy this.
  Farewell(Engine& engine, std::unique_ptr<Stream> stream, std::function<void()> done);
  ~Farewell();

 private:
  void on_readable() override;
  void on_writable() override {}
  void on_turn() override;
  void on_deadline() override;
  void finish();

  Engine& engine_;
  std::unique_ptr<Stream> stream_;
  std::function<void()> done_;
  std::size_t unsent_ = SIZE_MAX;  // at the last look; most peers end before the first
  unsigned looks_ = 0;             // in a row that saw no change
};

}  // namespace heddle::proxy::http
