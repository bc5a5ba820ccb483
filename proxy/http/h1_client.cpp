// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/h1_client.h"

#include <utility>

#include "base/log.h"

namespace heddle::proxy::http {
namespace {

constexpr int reads_per_turn = 4;

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::span<const std::byte> as_bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace

const char* to_string(Abort reason) {
  switch (reason) {
    case Abort::cancelled:
      return "cancelled";
    case Abort::unprocessed:
      return "refused by the upstream";
    case Abort::stale:
      return "idle connection closed";
    case Abort::connection:
      return "connection broken";
    case Abort::timeout:
      return "timeout";
    case Abort::protocol:
      return "protocol error";
    case Abort::reset:
      return "stream reset by the upstream";
    case Abort::overloaded:
      return "the upstream asks for calm";
    case Abort::internal:
      return "internal error";
  }
  return "error";
}

H1Client::H1Client(Engine& engine, std::unique_ptr<Stream> stream, H1ClientOwner& owner, ByteBudget budget)
    : engine_(engine), stream_(std::move(stream)), owner_(owner), output_(engine), held_(std::move(budget)) {
  stream_->set_events(this);
}

H1Client::~H1Client() {
  if (stream_) stream_->set_events(nullptr);
}

Peer* H1Client::start(const RequestHead& head, bool end, ResponsePeer& requester) {
  requester_ = &requester;
  in_exchange_ = true;
  responded_ = answered_ = false;
  unconsumed_ = 0;
  head_request_ = head.is_head();
  connect_request_ = head.is_connect();
  upgrade_request_ = head.is_upgrade;
  keep_alive_ = !head.is_upgrade;
  Framing1 framing = Framing1::as_is;
  if (!end && !head.fields.find(Name::content_length)) framing = Framing1::chunked;
  chunked_ = framing == Framing1::chunked;
  // TE is of one connection, and has to be named (RFC 9110 10.1.4).
  const bool te = head.fields.find(Name::te).has_value();
  std::string_view connection = te ? "te" : "";
  if (!head.upgrade.empty()) {
    connection = te ? "upgrade, te" : "upgrade";
  } else if (head.version == Version::http1_0) {
    connection = te ? "keep-alive, te" : "keep-alive";
  }
  write_request_head(output_.text(), head, framing, connection);
  request_ended_ = end;
  engine_.schedule(*this);
  return this;
}

void H1Client::data(std::span<const std::byte> bytes, bool end) {
  if (!bytes.empty()) {
    if (chunked_) write_chunk_begin(output_.text(), bytes.size());
    output_.content(*stream_, bytes, chunked_ ? std::string_view("\r\n") : std::string_view{});
  }
  if (end && chunked_) write_last_chunk(output_.text(), nullptr);
  if (end) request_ended_ = true;
  account();
  engine_.schedule(*this);
}

void H1Client::trailers(Fields&& trailers) {
  if (chunked_) write_last_chunk(output_.text(), &trailers);
  request_ended_ = true;
  engine_.schedule(*this);
}

void H1Client::abort(Abort) {
  requester_ = nullptr;
  end();
}

void H1Client::consumed(std::size_t bytes) {
  unconsumed_ -= std::min(bytes, unconsumed_);
  want_read_ = true;
  engine_.schedule(*this);
}

void H1Client::close() {
  if (closed_) return;
  closed_ = true;
  if (ResponsePeer* requester = std::exchange(requester_, nullptr)) requester->abort(Abort::connection);
  stream_->set_events(nullptr);
  stream_->reset();
}

void H1Client::on_deadline() {
  if (closed_) return;
  if (blocked_) {
    spdlog::debug("http: the server takes nothing of its request, closing its connection");
    held_.budget().count(Refusal::stalled);
  } else if (!in_exchange_ || responded_) {
    return;
  }
  fail(Abort::timeout);
}

void H1Client::on_readable() {
  read();
}

void H1Client::on_writable() {
  flush();
}

void H1Client::on_turn() {
  if (closed_) return;
  flush();
  if (!closed_ && std::exchange(want_read_, false)) read();
}

void H1Client::read() {
  for (int i = 0; i < reads_per_turn && !closed_; ++i) {
    const std::size_t limit = held_.budget().content_room(window, responded_ ? unconsumed_ : 0);
    if (limit == 0) return;
    const auto into = engine_.scratch().first(std::min({limit, most_read, engine_.scratch().size()}));
    const IoResult result = stream_->read(into);
    if (result.status == IoStatus::would_block) return;
    if (result.status == IoStatus::error)
      return fail(answered_ || !reused_ ? Abort::connection : Abort::stale);
    if (result.status == IoStatus::eof) return on_read_end();
    if (!in_exchange_) {
      // Bytes nobody asked for: the next request must not get them as its answer.
      spdlog::debug("http: unasked bytes on an idle upstream connection, closing it");
      return end();
    }
    feed(as_text(into.first(result.size)));
  }
  if (closed_) return;
  want_read_ = true;
  engine_.schedule(*this);
}

void H1Client::on_read_end() {
  if (!in_exchange_) return end();
  if (responded_ && content_.until_close()) {
    content_.finish();
    keep_alive_ = false;
    if (requester_ != nullptr) requester_->data({}, true);
    return end_response();
  }
  fail(answered_ || !reused_ ? Abort::connection : Abort::stale);
}

void H1Client::feed(std::string_view input) {
  answered_ = true;
  std::string joined;
  if (!carry_.empty()) {
    joined = std::exchange(carry_, {});
    joined.append(input);
    input = joined;
  }
  while (!input.empty() && !closed_) {
    if (!in_exchange_) return end();  // more than the response: must not become the next request's
    const std::size_t used = responded_ ? feed_content(input) : feed_head(input);
    if (used == 0) break;
    input.remove_prefix(used);
  }
  if (closed_) return;
  if (!input.empty()) carry_.assign(input);
  account();
  if (!in_exchange_) {
    reused_ = true;
    owner_.client_idle(*this);
  }
}

std::size_t H1Client::feed_head(std::string_view input) {
  const std::size_t size = find_head_end(input, searched_);
  if (size > max_head_bytes || (size == 0 && input.size() >= max_head_bytes)) {
    fail(Abort::protocol);
    return 0;
  }
  if (size == 0) {
    if (has_lone_lf(input, searched_)) {
      spdlog::warn(
          "http: malformed response from the upstream reason=\"a line ends without CR\" "
          "next=\"check the server behind it\"");
      fail(Abort::protocol);
      return 0;
    }
    searched_ = input.size();
    if (waits_in() != &engine_.heads()) engine_.heads().start(*this);
    return 0;
  }
  leave();
  searched_ = 0;
  ResponseHead& head = engine_.response_head;
  auto parsed = parse_response_head(input.substr(0, size), head);
  if (parsed) parsed = settle(head, head_request_, connect_request_);
  if (!parsed || (head.status == 101 && (!upgrade_request_ || connect_request_))) {
    spdlog::warn(
        "http: malformed response from the upstream reason=\"{}\" next=\"check the server behind it\"",
        parsed ? "101 without a request to switch" : parsed.error().detail);
    fail(Abort::protocol);
    return 0;
  }
  const bool chunked = head.fields.find(Name::transfer_encoding).has_value();
  strip_hop_by_hop(head.fields);
  if (head.status < 200 && head.status != 101) {
    requester_->inform(head);
    return size;
  }
  responded_ = true;
  if (head.wants_close) keep_alive_ = false;
  if (head.status == 101 || (connect_request_ && head.status < 300)) {
    ResponsePeer* requester = std::exchange(requester_, nullptr);
    closed_ = true;
    stream_->set_events(nullptr);
    auto stream = with_prefix(engine_.loop(), std::move(stream_), as_bytes_of(input.substr(size)));
    requester->respond(head, false);
    requester->switched(std::move(stream));
    owner_.client_closed(*this);
    return 0;
  }
  content_.begin(head.content == Content::none    ? ContentReader::Kind::none
                 : head.content == Content::sized ? ContentReader::Kind::sized
                 : chunked                        ? ContentReader::Kind::chunked
                                                  : ContentReader::Kind::until_close,
                 head.length);
  const bool ended = content_.done();
  ResponsePeer* requester = ended ? std::exchange(requester_, nullptr) : requester_;
  requester->respond(head, ended);
  if (ended && !closed_) end_response();
  return size;
}

std::size_t H1Client::feed_content(std::string_view input) {
  const ContentReader::Step step = content_.next(input);
  if (step.error != nullptr) {
    spdlog::warn("http: malformed content from the upstream reason=\"{}\"", step.error);
    fail(Abort::protocol);
    return 0;
  }
  const bool ended = content_.done();
  ResponsePeer* requester = ended ? std::exchange(requester_, nullptr) : requester_;
  if (ended && content_.has_trailers()) {
    requester->trailers(content_.take_trailers());
  } else if (ended || !step.data.empty()) {
    unconsumed_ += step.data.size();
    requester->data(as_bytes_of(step.data), ended);
  }
  if (ended && !closed_) end_response();
  return step.used;
}

void H1Client::end_response() {
  requester_ = nullptr;
  in_exchange_ = false;
  output_.forget_credit();
  // An answer before the request's end: what is left of it will never be sent, so this connection is done.
  // Else feed() reports it as idle when it saw that nothing follows.
  if (!keep_alive_ || !request_ended_ || !output_.empty()) end();
}

void H1Client::fail(Abort reason) {
  if (closed_) return;
  if (ResponsePeer* requester = std::exchange(requester_, nullptr)) requester->abort(reason);
  end();
}

void H1Client::flush() {
  if (closed_) return;
  const Output::Flushed flushed = output_.flush(*stream_);
  account();
  if (flushed == Output::Flushed::error) {
    // The server may have answered before it closed: reading tells.
    output_.forget_credit();
    return read();
  }
  watch_reader(flushed == Output::Flushed::blocked);
  if (requester_ == nullptr) return;
  if (const std::size_t credit = output_.take_credit(); credit != 0) requester_->consumed(credit);
}

// A head that has begun to come is awaited for a shorter time.
void H1Client::watch_reader(bool blocked) {
  const bool moved = std::exchange(seen_written_, output_.written()) != seen_written_;
  blocked_ = blocked && engine_.stalls().limits();
  const bool watched = waits_in() == &engine_.stalls();
  if (!blocked_ && watched) leave();
  if (blocked_ && (watched ? moved : waits_in() == nullptr)) engine_.stalls().start(*this);
}

void H1Client::end() {
  if (closed_) return;
  closed_ = true;
  in_exchange_ = false;
  requester_ = nullptr;
  stream_->set_events(nullptr);
  stream_->reset();
  owner_.client_closed(*this);
}

}  // namespace heddle::proxy::http
