// SPDX-License-Identifier: Apache-2.0
#include "proxy/inbound/transport_reader.h"

#include "proxy/worker.h"

namespace heddle::proxy {

TransportReader::TransportReader(Worker& worker, std::unique_ptr<Stream> stream,
                                 std::chrono::milliseconds timeout, Done done)
    : worker_(worker),
      stream_(std::move(stream)),
      done_(std::move(done)),
      timer_(worker.loop, [this] { finish(make_error(Errc::timeout, "no transport header came")); }) {
  stream_->set_events(this);
  timer_.arm(timeout);
}

TransportReader::~TransportReader() {
  if (stream_) stream_->set_events(nullptr);
}

void TransportReader::on_readable() {
  while (stream_) {
    const IoResult got = stream_->read(worker_.scratch);
    if (got.status == IoStatus::would_block) return;
    if (got.status != IoStatus::ok)
      return finish(make_error(Errc::closed, "the peer left before its header"));
    bytes_.insert(bytes_.end(), worker_.scratch.begin(),
                  worker_.scratch.begin() + static_cast<std::ptrdiff_t>(got.size));
    auto decoded = decode_transport_header(bytes_);
    if (!decoded) return finish(decoded.error());
    if (!*decoded) continue;
    stream_->set_events(nullptr);
    auto rest = with_prefix(worker_.loop, std::move(stream_), std::span(bytes_).subspan((*decoded)->size));
    return finish(Read{std::move((*decoded)->header), std::move(rest)});
  }
}

void TransportReader::finish(Result<Read> result) {
  timer_.cancel();
  if (stream_) {
    stream_->set_events(nullptr);
    if (!result) stream_->reset();
  }
  const Done done = std::move(done_);
  if (done) done(std::move(result));
}

}  // namespace heddle::proxy
