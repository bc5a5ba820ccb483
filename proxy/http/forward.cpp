// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/forward.h"

#include <utility>

namespace heddle::proxy::http {
namespace {

constexpr unsigned max_informed = 32;  // interim responses of one request that are passed on

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::span<const std::byte> as_bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// An upstream's RST_STREAM is its answer: who speaks HTTP/2 gets it as it is, for gRPC reads a status out of
// it.
bool is_reset(Abort reason) {
  return reason == Abort::reset || reason == Abort::overloaded || reason == Abort::cancelled ||
         reason == Abort::unprocessed;
}

}  // namespace

Peer* Forward::begin(RequestHead& head, bool end, ResponsePeer& requester) {
  std::swap(head_, head);
  requester_ = &requester;
  request_ended_ = end;
  account();
  if (const char* why = slot_.take(held_.budget().load())) {
    refuse(503, why);
  } else {
    route(attempt_);
  }
  return over_ ? nullptr : this;
}

void Forward::use(Client& client) {
  const unsigned mine = ++upstreams_;
  skip_credit_ = credited_;
  // Content of unknown length is content also when it was found to be empty: a server may insist on it.
  const bool ended =
      request_ended_ && replay_.empty() && trailers_ == nullptr && head_.content != Content::streamed;
  Peer* upstream = client.start(head_, ended, answers_);
  // start() may have answered, or failed and been tried again elsewhere, before it returned.
  if (upstreams_ != mine || over_) return;
  upstream_ = upstream;
  if (upstream_ == nullptr) return;
  if (!replay_.empty() || (request_ended_ && !ended && trailers_ == nullptr)) {
    upstream_->data(as_bytes_of(replay_), request_ended_ && trailers_ == nullptr);
    if (upstreams_ != mine || over_ || upstream_ == nullptr) return;
  }
  if (trailers_ != nullptr) {
    Fields copy = *trailers_;
    upstream_->trailers(std::move(copy));
  }
}

void Forward::data(std::span<const std::byte> bytes, bool end) {
  if (end) request_ended_ = true;
  bytes_in_ += bytes.size();
  if (!responded_ && replay_complete_) {
    // To be able to ask again is no reason to fill the pod's account: requests that wait for their answers
    // would wait for each other. Without an upstream this is the only copy, and the window bounds it.
    if (upstream_ == nullptr || (replay_.size() + bytes.size() <= window && !held_.budget().tight())) {
      if (replay_.empty() && replay_.capacity() < 512 && !bytes.empty()) replay_ = engine_.take_buffer();
      replay_.append(as_text(bytes));
      account();
    } else {
      drop_replay();
    }
  }
  if (upstream_ == nullptr) return;
  upstream_->data(bytes, end);
}

void Forward::trailers(Fields&& trailers) {
  request_ended_ = true;
  if (!responded_) trailers_ = std::make_unique<Fields>(trailers);
  if (upstream_ == nullptr) return;
  upstream_->trailers(std::move(trailers));
}

void Forward::abort(Abort) {
  requester_ = nullptr;
  ++upstreams_;
  leave();
  if (Peer* upstream = std::exchange(upstream_, nullptr)) upstream->abort(Abort::cancelled);
  finish(status_, "client went away");
}

void Forward::consumed(std::size_t bytes) {
  if (upstream_ != nullptr) upstream_->consumed(bytes);
}

void Forward::drop_replay() {
  replay_complete_ = false;
  engine_.give_buffer(std::move(replay_));
  replay_ = std::string();
  account();
}

bool Forward::may_replay(Abort reason) const {
  if (responded_ || over_ || requester_ == nullptr || !replay_complete_) return false;
  switch (reason) {
    case Abort::unprocessed:
      return true;
    case Abort::stale:
      return head_.is_idempotent();
    default:
      return false;
  }
}

void Forward::refuse(std::uint16_t status, std::string_view reason) {
  if (over_ || requester_ == nullptr) return;
  ++upstreams_;
  upstream_ = nullptr;
  ResponseHead head = make_error_response(status, reason, head_.is_grpc());
  ResponsePeer* requester = std::exchange(requester_, nullptr);
  requester->respond(head, true);
  finish(status, reason);
}

void Forward::upstream_failed(std::uint16_t status, std::string_view reason) {
  // Nothing was sent: trying elsewhere is always safe while the content is still here.
  if (!over_ && replay_complete_ && retryable(attempt_)) return route(++attempt_);
  refuse(status, reason);
}

void Forward::finish(std::uint16_t status, std::string_view error) {
  if (over_) return;
  over_ = true;
  slot_.give_back();
  leave();
  on_over(status, error);
  if (replay_.capacity() >= 512) drop_replay();
  engine_.bury(std::unique_ptr<Buried>(this));
}

void Forward::Answers::inform(const ResponseHead& head) {
  // Nobody waits for credit for these: a flood would pile up in front of a slow requester.
  if (forward.requester_ == nullptr || forward.informed_ == max_informed) return;
  ++forward.informed_;
  forward.requester_->inform(head);
}

void Forward::Answers::respond(ResponseHead& head, bool end) {
  forward.responded_ = true;
  forward.status_ = head.status;
  forward.drop_replay();
  forward.on_respond(head);
  ResponsePeer* requester = forward.requester_;
  if (end) {
    forward.upstream_ = nullptr;
    forward.requester_ = nullptr;
    ++forward.upstreams_;
    forward.on_trailers(head.fields);
  }
  requester->respond(head, end);
  if (end) forward.finish(forward.status_, {});
}

void Forward::Answers::switched(std::unique_ptr<Stream> upstream) {
  forward.upstream_ = nullptr;
  ++forward.upstreams_;
  ResponsePeer* requester = std::exchange(forward.requester_, nullptr);
  requester->switched(std::move(upstream));
  forward.finish(forward.status_, {});
}

void Forward::Answers::data(std::span<const std::byte> bytes, bool end) {
  forward.bytes_out_ += bytes.size();
  ResponsePeer* requester = forward.requester_;
  if (end) {
    forward.upstream_ = nullptr;
    forward.requester_ = nullptr;
    ++forward.upstreams_;
  }
  requester->data(bytes, end);
  if (end) forward.finish(forward.status_, {});
}

void Forward::Answers::trailers(Fields&& trailers) {
  forward.upstream_ = nullptr;
  ++forward.upstreams_;
  forward.on_trailers(trailers);
  ResponsePeer* requester = std::exchange(forward.requester_, nullptr);
  requester->trailers(std::move(trailers));
  forward.finish(forward.status_, {});
}

void Forward::Answers::abort(Abort reason) {
  forward.upstream_ = nullptr;
  ++forward.upstreams_;
  if (forward.may_replay(reason) && forward.retryable(forward.attempt_))
    return forward.route(++forward.attempt_);
  const bool tells = is_reset(reason) && forward.head_.version == Version::http2;
  if (!forward.responded_ && !tells) {
    return forward.refuse(reason == Abort::timeout ? 504 : 502, to_string(reason));
  }
  ResponsePeer* requester = std::exchange(forward.requester_, nullptr);
  requester->abort(reason);
  forward.finish(forward.responded_ ? forward.status_ : 502, to_string(reason));
}

void Forward::Answers::consumed(std::size_t bytes) {
  const std::size_t again = std::min(bytes, forward.skip_credit_);
  forward.skip_credit_ -= again;
  bytes -= again;
  forward.credited_ += bytes;
  if (bytes != 0 && forward.requester_ != nullptr) forward.requester_->consumed(bytes);
}

}  // namespace heddle::proxy::http
