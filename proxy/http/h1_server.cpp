// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/h1_server.h"

#include <utility>

#include "base/log.h"

namespace heddle::proxy::http {
namespace {

// Content of a request that was answered early is read up to here, so that the connection can go on.
constexpr std::size_t max_discarded = 256 * 1024;
// An unfinished head of this size is refused while the pod may hold no more.
constexpr std::size_t usual_head = 4096;
// Reads of one turn; then the others have theirs.
constexpr int reads_per_turn = 4;

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::span<const std::byte> as_bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

void count_refusal(const ByteBudget& budget, std::uint16_t status) {
  if (status == 408) budget.count(Refusal::too_slow);
  if (status == 431) budget.count(Refusal::too_large);
  if (status == 400 || status == 505) budget.count(Refusal::malformed);
}

}  // namespace

std::unique_ptr<ServerCodec> make_h1_server(Engine& engine, std::unique_ptr<Stream> stream, Handler& handler,
                                            ServerOwner& owner, ByteBudget budget) {
  return std::make_unique<H1Server>(engine, std::move(stream), handler, owner, std::move(budget));
}

H1Server::H1Server(Engine& engine, std::unique_ptr<Stream> stream, Handler& handler, ServerOwner& owner,
                   ByteBudget budget)
    : engine_(engine),
      stream_(std::move(stream)),
      handler_(handler),
      owner_(owner),
      output_(engine),
      held_(std::move(budget)) {
  stream_->set_events(this);
  want_read_ = true;
  engine_.schedule(*this);
  watch();
}

H1Server::~H1Server() {
  if (stream_) stream_->set_events(nullptr);
}

// The next response says that it is the last one. Closing without saying so would race with a request that is
// on its way (RFC 9112 9.6).
void H1Server::drain() {
  draining_ = true;
}

void H1Server::end_idle() {
  idle_ends_ = true;
  // Between requests: the next one may have arrived unread, so what is there is read before anything is
  // closed, and a connection that has not had its first request yet gets to have it.
  if (!in_exchange_ && carry_.empty() && !closed_) {
    want_read_ = true;
    engine_.schedule(*this);
  }
}

void H1Server::close_if_idle_ends() {
  if (!idle_ends_ || !started_ || in_exchange_ || !carry_.empty() || closing_) return;
  closing_ = true;
  engine_.schedule(*this);
}

void H1Server::abort() {
  if (closed_) return;
  closed_ = true;
  if (Peer* request = std::exchange(request_, nullptr)) request->abort(Abort::cancelled);
  if (stream_) {
    stream_->set_events(nullptr);
    stream_->reset();
  }
  farewell_.reset();
}

void H1Server::on_readable() {
  read();
}

void H1Server::on_writable() {
  flush();
}

void H1Server::on_turn() {
  if (closed_ || lingering_) return;
  if (std::exchange(want_read_, false)) {
    if (!carry_.empty() && !in_exchange_) {
      const std::string waiting = std::exchange(carry_, {});
      searched_ = 0;
      feed(waiting);
      // Of what came before the client's end nothing more makes a request.
      if (read_ended_ && !in_exchange_ && output_.size() <= window) closing_ = true;
    }
    if (!closed_) read();
  }
  flush();
}

std::size_t H1Server::read_limit() const {
  if (closed_ || closing_ || read_ended_ || upstream_) return 0;
  const ByteBudget& budget = held_.budget();
  if (in_exchange_ && !content_.done() && request_ != nullptr)
    return budget.content_room(window, unconsumed_);
  // Waiting for the response, reading only shows whether the client is still there; the next requests can
  // wait.
  if (in_exchange_ && content_.done() && budget.tight()) return 0;
  return budget.read_size(window - std::min(carry_.size(), window));
}

void H1Server::account() {
  held_.set(output_.size() + carry_.size());
}

// What must happen next on an open connection, and until when. Bytes of a head do not move its deadline.
void H1Server::watch() {
  if (closed_ || closing_ || lingering_ || waits_in() == &engine_.stalls()) return;
  if (in_exchange_) return leave();
  DeadlineList& next = started_ && carry_.empty() ? engine_.idle() : engine_.heads();
  if (waits_in() != &next) next.start(*this);
}

// What waits for a client must not wait for ever; whatever it takes of it moves the deadline.
void H1Server::watch_reader(bool blocked) {
  const bool moved = std::exchange(seen_written_, output_.written()) != seen_written_;
  blocked_ = blocked && engine_.stalls().limits();
  const bool watched = waits_in() == &engine_.stalls();
  if (blocked_ && (moved || !watched)) return engine_.stalls().start(*this);
  if (blocked_ || !watched) return;
  leave();
  watch();
}

void H1Server::on_deadline() {
  if (closed_ || lingering_) return;
  if (blocked_) {
    spdlog::debug("http: the client takes nothing of its answer, closing its connection");
    held_.budget().count(Refusal::stalled);
    return close_now();
  }
  if (closing_ || in_exchange_) return;
  // Not the next head is late, but the client's reading of the answers before it.
  if (output_.size() > window) return watch();
  if (started_ && carry_.empty()) {
    closing_ = true;
  } else {
    refuse(408, "the request's head did not come in time");
  }
  engine_.schedule(*this);
}

void H1Server::read() {
  if (feeding_) return;
  for (int i = 0; i < reads_per_turn; ++i) {
    const std::size_t limit = read_limit();
    if (limit == 0) return;
    const auto into = engine_.scratch().first(std::min({limit, most_read, engine_.scratch().size()}));
    const IoResult result = stream_->read(into);
    if (result.status == IoStatus::would_block) return close_if_idle_ends();
    if (result.status == IoStatus::error) return close_now();
    if (result.status == IoStatus::eof) {
      read_ended_ = true;
      return on_read_end();
    }
    feed(as_text(into.first(result.size)));
    if (closed_) return;
  }
  want_read_ = true;
  engine_.schedule(*this);
}

void H1Server::on_read_end() {
  if (!in_exchange_) {
    // A clean end between requests, or one within a head: nothing to answer.
    closing_ = true;
    engine_.schedule(*this);
    return;
  }
  // The request is whole: it still gets its answer, and so do those that wait behind it. The client may have
  // closed its sending half only.
  if (content_.done()) {
    if (carry_.empty()) keep_alive_ = false;
    return;
  }
  keep_alive_ = false;
  close_now();
}

void H1Server::feed(std::string_view input) {
  feeding_ = true;
  std::string joined;
  if (!carry_.empty()) {
    joined = std::exchange(carry_, {});
    joined.append(input);
    input = joined;
  }
  while (!input.empty() && !closed_ && !closing_) {
    const std::size_t used = in_exchange_ ? feed_content(input) : feed_head(input);
    if (used == 0) break;
    input.remove_prefix(used);
  }
  if (closing_ && !input.empty()) last_word_ = false;  // more may follow what it should not have sent
  if (!closed_ && !closing_ && !input.empty()) {
    if (input.size() == joined.size()) {
      carry_ = std::move(joined);
    } else {
      carry_.assign(input);
    }
  }
  feeding_ = false;
  account();
  watch();
}

std::size_t H1Server::feed_head(std::string_view input) {
  if (const std::size_t skipped = leading_empty_lines(input); skipped != 0) return skipped;
  // Answers to pipelined requests must not pile up in front of a client that does not read them.
  if (output_.size() > window) {
    want_read_ = true;
    return 0;
  }
  const std::size_t size = find_head_end(input, searched_);
  if (size > max_head_bytes || (size == 0 && input.size() >= max_head_bytes)) {
    refuse(431, "head larger than 64 KiB");
    return 0;
  }
  if (size == 0) {
    if (has_lone_lf(input, searched_)) {
      refuse(400, "a line ends without CR");
      return 0;
    }
    if (input.size() >= usual_head && held_.budget().full()) {
      held_.budget().count_full();
      refuse(503, "too many bytes are buffered for the pod");
    }
    searched_ = input.size();
    return 0;
  }
  searched_ = 0;
  start(input.substr(0, size));
  return size;
}

void H1Server::start(std::string_view head_text) {
  RequestHead& head = engine_.request_head;
  if (const auto parsed = parse_request_head(head_text, head); !parsed)
    return refuse(parsed.error().code == make_error_code(Errc::exhausted)     ? 431
                  : parsed.error().code == make_error_code(Errc::unsupported) ? 505
                                                                              : 400,
                  parsed.error().detail);
  if (const auto settled = settle(head); !settled) return refuse(400, settled.error().detail);
  in_exchange_ = true;
  started_ = true;
  leave();
  responded_ = response_ended_ = chunked_ = false;
  unconsumed_ = discarded_ = 0;
  head_request_ = head.is_head();
  connect_request_ = head.is_connect();
  http1_0_ = head.version == Version::http1_0;
  keep_alive_ = !head.wants_close && !head.is_upgrade;
  last_word_ = head.wants_close && !http1_0_;
  expects_continue_ = head.wants_continue;
  content_.begin(head.content == Content::streamed ? ContentReader::Kind::chunked
                 : head.content == Content::sized  ? ContentReader::Kind::sized
                                                   : ContentReader::Kind::none,
                 head.length);
  const bool end = content_.done();
  strip_hop_by_hop(head.fields);
  Peer* request = handler_.start(head, end, *this);
  // Over already? Then what start() returned is null and the response's end was noted by the calls it made.
  request_ = response_ended_ || closed_ ? nullptr : request;
  if (response_ended_) finish_exchange();
}

std::size_t H1Server::feed_content(std::string_view input) {
  if (content_.done()) return 0;  // the next request waits for this one's response
  const ContentReader::Step step = content_.next(input);
  if (step.error != nullptr) {
    if (Peer* request = std::exchange(request_, nullptr)) request->abort(Abort::protocol);
    if (!responded_) {
      refuse(400, step.error);
    } else {
      close_now();
    }
    return 0;
  }
  expects_continue_ = false;
  const bool end = content_.done();
  if (request_ == nullptr) {
    discarded_ += step.used;
    if (discarded_ > max_discarded) keep_alive_ = false;
    if (end || discarded_ > max_discarded) finish_exchange();
    return step.used;
  }
  if (end && content_.has_trailers()) {
    request_->trailers(content_.take_trailers());
  } else if (end || !step.data.empty()) {
    unconsumed_ += step.data.size();
    request_->data(as_bytes_of(step.data), end);
  }
  if (end && response_ended_) finish_exchange();
  return step.used;
}

void H1Server::consumed(std::size_t bytes) {
  unconsumed_ -= std::min(bytes, unconsumed_);
  if (content_.done()) return;
  want_read_ = true;
  engine_.schedule(*this);
}

void H1Server::inform(const ResponseHead& head) {
  if (http1_0_) return;
  if (head.status == 100) expects_continue_ = false;
  write_response_head(output_.text(), head, Version::http1_1, Framing1::as_is, {});
  engine_.schedule(*this);
}

void H1Server::respond(ResponseHead& head, bool end) {
  responded_ = true;
  const bool bodyless = response_has_no_content(head.status, head_request_, connect_request_);
  const bool has_length = head.fields.find(Name::content_length).has_value();
  Framing1 framing = Framing1::as_is;
  if (!bodyless && !has_length) {
    if (end) {
      framing = Framing1::empty;
    } else if (http1_0_) {
      framing = Framing1::until_close;
      keep_alive_ = false;
    } else {
      framing = Framing1::chunked;
    }
  }
  chunked_ = framing == Framing1::chunked;
  // A client that was never told to continue may or may not send its content: only closing is unambiguous.
  if (expects_continue_ && !content_.done()) keep_alive_ = false;
  if (draining_) keep_alive_ = false;
  std::string_view connection;
  if (head.status == 101) {
    connection = "upgrade";
  } else if (!head.upgrade.empty()) {
    connection = keep_alive_ ? "upgrade" : "upgrade, close";
  } else if (!keep_alive_ && !(connect_request_ && head.status / 100 == 2)) {
    connection = "close";
  } else if (http1_0_) {
    connection = "keep-alive";
  }
  write_response_head(output_.text(), head, http1_0_ ? Version::http1_0 : Version::http1_1, framing,
                      connection);
  engine_.schedule(*this);
  if (end) end_response();
}

void H1Server::data(std::span<const std::byte> bytes, bool end) {
  if (!bytes.empty()) {
    if (chunked_) write_chunk_begin(output_.text(), bytes.size());
    output_.content(*stream_, bytes, chunked_ ? std::string_view("\r\n") : std::string_view{});
    account();
  }
  if (end && chunked_) write_last_chunk(output_.text(), nullptr);
  engine_.schedule(*this);
  if (end) end_response();
}

void H1Server::trailers(Fields&& trailers) {
  if (chunked_) write_last_chunk(output_.text(), &trailers);
  engine_.schedule(*this);
  end_response();
}

void H1Server::end_response() {
  request_ = nullptr;
  response_ended_ = true;
  output_.forget_credit();
  if (expects_continue_ && !content_.done()) return finish_exchange();
  // While start() or feed_content() runs they notice by themselves.
  if (!feeding_ && content_.done()) finish_exchange();
  if (!content_.done()) {
    want_read_ = true;
    engine_.schedule(*this);
  }
}

void H1Server::abort(Abort reason) {
  request_ = nullptr;
  if (!responded_) {
    ResponseHead head = make_error_response(reason == Abort::timeout ? 504 : 502, to_string(reason), false);
    keep_alive_ = keep_alive_ && content_.done();
    return respond(head, true);
  }
  // The client must not take what it has for the whole response.
  spdlog::debug("http: connection reset in the middle of a response reason=\"{}\"", to_string(reason));
  close_now();
}

void H1Server::switched(std::unique_ptr<Stream> upstream) {
  request_ = nullptr;
  response_ended_ = true;
  output_.forget_credit();
  upstream_ = std::move(upstream);
  engine_.schedule(*this);
}

void H1Server::finish_exchange() {
  if (!in_exchange_) return;
  in_exchange_ = false;
  if (!keep_alive_ || idle_ends_ || (read_ended_ && carry_.empty() && !feeding_)) {
    closing_ = true;
  } else {
    // Pipelined requests, and readiness that was not used because of them.
    want_read_ = true;
    if (!feeding_) watch();
  }
  engine_.schedule(*this);
}

void H1Server::refuse(std::uint16_t status, const std::string& why) {
  spdlog::debug("http: request refused status={} reason=\"{}\"", status, why);
  count_refusal(held_.budget(), status);
  ResponseHead head = make_error_response(status, why, false);
  head_request_ = connect_request_ = http1_0_ = false;
  in_exchange_ = true;
  keep_alive_ = last_word_ = false;
  content_.begin(ContentReader::Kind::none);
  respond(head, true);
  in_exchange_ = false;
  closing_ = true;
  engine_.schedule(*this);
}

void H1Server::flush() {
  if (closed_ || lingering_) return;
  // The answer and the end travel in one packet, and wake the client once.
  const Output::Flushed flushed = output_.flush(*stream_, closing_ && !upstream_);
  account();
  if (flushed == Output::Flushed::error) return close_now();
  watch_reader(flushed == Output::Flushed::blocked);
  if (request_ != nullptr) {
    if (const std::size_t credit = output_.take_credit(); credit != 0) request_->consumed(credit);
    if (closed_) return;
  }
  if (flushed != Output::Flushed::all || !output_.empty()) return;
  if (upstream_) {
    closed_ = true;
    stream_->set_events(nullptr);
    auto downstream = with_prefix(engine_.loop(), std::move(stream_), as_bytes_of(carry_));
    carry_ = {};
    return owner_.server_switched(std::move(downstream), std::move(upstream_));
  }
  if (closing_) return linger();
  if (want_read_) engine_.schedule(*this);
}

void H1Server::linger() {
  lingering_ = true;
  if (read_ended_) return end();
  // Who has asked for the end sends nothing after it (RFC 9112, section 9.6): closing resets nothing then,
  // and what the kernel still has to send is its own matter as long as it is little.
  if (last_word_ && content_.done() && carry_.empty() && unsent(*stream_) <= most_left_to_kernel) {
    stream_->let_go();
    return end();
  }
  farewell_ = std::make_unique<Farewell>(engine_, std::move(stream_), [this] { end(); });
}

void H1Server::close_now() {
  if (closed_) return;
  if (Peer* request = std::exchange(request_, nullptr)) request->abort(Abort::cancelled);
  stream_->reset();
  end();
}

void H1Server::end() {
  if (closed_) return;
  closed_ = true;
  if (stream_) stream_->set_events(nullptr);
  owner_.server_closed();
}

}  // namespace heddle::proxy::http
