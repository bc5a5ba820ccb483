// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/farewell.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <utility>

namespace heddle::proxy::http {
namespace {

constexpr unsigned quiet_looks = 2;
constexpr unsigned stuck_looks = 30;
constexpr int reads_per_turn = 4;

}  // namespace

std::size_t unsent(const Stream& stream) {
  int queued = 0;
  const bool known = stream.descriptor() >= 0 && ::ioctl(stream.descriptor(), SIOCOUTQ, &queued) == 0;
  return stream.buffered() + (known && queued > 0 ? static_cast<std::size_t>(queued) : 0);
}

Farewell::Farewell(Engine& engine, std::unique_ptr<Stream> stream, std::function<void()> done)
    : engine_(engine), stream_(std::move(stream)), done_(std::move(done)) {
  stream_->set_events(this);
  stream_->finish_writes();
  engine_.closing().start(*this);
  engine_.schedule(*this);
}

Farewell::~Farewell() {
  stream_->set_events(nullptr);
}

// Nothing is heard any more until the owner has come to destroy this.
void Farewell::finish() {
  leave();
  stream_->set_events(nullptr);
  std::exchange(done_, nullptr)();
}

void Farewell::on_readable() {
  for (int i = 0; i < reads_per_turn; ++i) {
    const IoResult result = stream_->read(engine_.scratch());
    if (result.status == IoStatus::would_block) return;
    if (result.status != IoStatus::ok) return finish();
  }
  engine_.schedule(*this);
}

void Farewell::on_turn() {
  if (done_) on_readable();
}

void Farewell::on_deadline() {
  const std::size_t now = unsent(*stream_);
  looks_ = now == unsent_ ? looks_ + 1 : 0;
  unsent_ = now;
  if (looks_ < (now == 0 ? quiet_looks : stuck_looks)) return engine_.closing().start(*this);
  if (now == 0) stream_->let_go();
  finish();
}

}  // namespace heddle::proxy::http
