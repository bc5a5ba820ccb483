// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/h2_session.h"

#include <nghttp2/nghttp2.h>

#include <charconv>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include "base/log.h"
#include "proxy/http/h2_callbacks.h"
#include "proxy/http/h2_fields.h"

namespace heddle::proxy::http {
namespace {

constexpr int reads_per_turn = 4;
constexpr int gathers_per_turn = 4;
// The time for an answer is counted in so many parts. When this process, or the machine with the peer on it,
// stands still for seconds, only one of them passes.
constexpr std::uint8_t most_pong_looks = 3;
// When the final GOAWAY goes out to a proxy that does not answer PING, and to all others: python-h2 takes a
// PING after GOAWAY for a broken connection. A client's side gives no notice.
constexpr std::chrono::seconds shutdown_patience{3};
constexpr std::chrono::seconds shutdown_notice{1};
constexpr std::chrono::milliseconds owed_look{10};
// Frames for a peer that reads nothing, from which on it is not read from either.
constexpr std::size_t most_unread = 2000;
// Un-consumed content of a stream that is refused more of it when the pod's account is nearly full.
constexpr std::int32_t refused_backlog = 16 * 1024;

using Options = std::unique_ptr<nghttp2_option, decltype(&nghttp2_option_del)>;

Options options(const H2Settings& settings) {
  nghttp2_option* option = nullptr;
  if (nghttp2_option_new(&option) != 0) throw std::bad_alloc();
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  nghttp2_option_set_stream_reset_rate_limit(option, settings.reset_burst, settings.resets_per_second);
  nghttp2_option_set_max_settings(option, 32);
  nghttp2_option_set_max_outbound_ack(option, 200);
  nghttp2_option_set_max_deflate_dynamic_table_size(option, 4096);
  // A head of ours and what its coding may add at worst (nghttp2 reckons without compression).
  nghttp2_option_set_max_send_header_block_length(option, 2 * max_head_bytes);
  return {option, nghttp2_option_del};
}

}  // namespace

H2Settings mesh_settings() {
  H2Settings settings;
  settings.max_streams = 10'000;
  settings.stream_window = 64 * 1024;
  settings.connection_window = 16 * 1024 * 1024;
  settings.ping = true;
  settings.mesh = true;
  // A reset here is an app's own: a client that closes with unread bytes, a port check. Thousands a second
  // are honest, and ending the connection would cut the streams of everybody else's.
  settings.reset_burst = 10'000;
  settings.resets_per_second = 10'000;
  settings.glitch_burst = 100'000;
  settings.glitches_per_second = 20'000;
  return settings;
}

void H2Stream::send(std::span<const std::byte> bytes, bool end) {
  if (session_ == nullptr) return;
  if (!bytes.empty()) {
    if (queue_.empty() && queue_.capacity() < 512) queue_ = session_->engine_.take_buffer();
    // What was sent must not pile up in front of what waits.
    if (queue_sent_ > queue_.size() / 2) {
      queue_.erase(0, queue_sent_);
      queue_sent_ = 0;
    }
    if (!patient_ && waits_in() == nullptr) session_->stalls_.start(*this);
    queue_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    session_->queued_ += bytes.size();
    session_->account();
  }
  if (end) end_queued_ = true;
  if (!paused_ && std::exchange(deferred_, false)) nghttp2_session_resume_data(session_->session_, id_);
  session_->flush_later();
}

void H2Stream::send_trailers(Fields&& trailers) {
  if (!trailers.empty()) trailers_ = std::make_unique<Fields>(std::move(trailers));
  send({}, true);
}

void H2Stream::return_credit(std::size_t bytes) {
  if (session_ == nullptr || bytes == 0) return;
  nghttp2_session_consume_stream(session_->session_, id_, bytes);
  const std::size_t of_connection = std::min(bytes, connection_owed_);
  if (of_connection != 0) nghttp2_session_consume_connection(session_->session_, of_connection);
  connection_owed_ -= of_connection;
  session_->flush_later();
}

void H2Stream::reset(std::uint32_t error_code) {
  if (session_ == nullptr) return;
  nghttp2_submit_rst_stream(session_->session_, NGHTTP2_FLAG_NONE, id_, error_code);
  leave();
  // A peer that does not read keeps RST_STREAM waiting, but not what was for it.
  session_->queued_ -= unsent();
  session_->account();
  queue_ = std::string();
  queue_sent_ = 0;
  end_queued_ = false;  // what was cut must not look whole
  session_->flush_later();
}

void H2Stream::on_deadline() {
  if (session_ == nullptr) return;
  stalled_ = true;
  spdlog::debug("http: the peer takes nothing of a stream's content, resetting it stream={}", id_);
  session_->budget().count(Refusal::stalled);
  reset(session_->server_ ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_CANCEL);
}

H2Session::H2Session(Engine& engine, std::unique_ptr<Stream> stream, bool server, const H2Settings& settings,
                     ByteBudget budget)
    : engine_(engine),
      server_(server),
      stream_(std::move(stream)),
      output_(engine),
      held_(std::move(budget)),
      ping_interval_(settings.ping_interval),
      ping_timeout_(settings.ping_timeout),
      mesh_(settings.mesh),
      glitches_(settings.glitch_burst, settings.glitches_per_second, engine.now()),
      stalls_(settings.mesh ? engine.mesh_stalls() : engine.stalls()) {
  const Options chosen = options(settings);
  if (server) {
    nghttp2_session_server_new2(&session_, Callbacks::table(), this, chosen.get());
  } else {
    nghttp2_session_client_new2(&session_, Callbacks::table(), this, chosen.get());
  }
  std::vector<nghttp2_settings_entry> entries = {
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, settings.stream_window},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, static_cast<std::uint32_t>(max_head_bytes)},
  };
  if (server) {
    entries.push_back({NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings.max_streams});
  } else {
    entries.push_back({NGHTTP2_SETTINGS_ENABLE_PUSH, 0});
  }
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, entries.data(), entries.size());
  // What all streams of a connection may bring unasked is a small part of what the pod may hold.
  const std::size_t share = std::max<std::size_t>(held_.budget().limit() / 16, 64 * 1024);
  nghttp2_session_set_local_window_size(
      session_, NGHTTP2_FLAG_NONE, 0,
      static_cast<std::int32_t>(std::min<std::size_t>(settings.connection_window, share)));
  stream_->set_events(this);
  want_read_ = true;
  engine_.schedule(*this);
  if (settings.ping) {
    ping_timer_ = std::make_unique<Timer>(engine_.loop(), [this] { on_ping_timer(); });
    ping_timer_->arm(ping_interval_);
  }
  watch();
}

H2Session::~H2Session() {
  if (stream_) stream_->set_events(nullptr);
  closed_ = true;
  for (auto& stream : streams_) stream->session_ = nullptr;
  nghttp2_session_del(session_);
}

void H2Session::attach(std::unique_ptr<H2Stream> stream, std::int32_t id) {
  stream->session_ = this;
  stream->id_ = id;
  stream->slot_ = static_cast<std::uint32_t>(streams_.size());
  streams_.push_back(std::move(stream));
}

void H2Session::replace(H2Stream& old, std::unique_ptr<H2Stream> next) {
  next->session_ = this;
  next->id_ = old.id_;
  next->slot_ = old.slot_;
  old.session_ = nullptr;
  nghttp2_session_set_stream_user_data(session_, next->id_, next.get());
  std::swap(streams_[old.slot_], next);
  engine_.bury(std::move(next));
}

H2Stream* H2Session::find(std::int32_t id) const {
  for (const auto& stream : streams_) {
    if (stream->id_ == id) return stream.get();
  }
  return nullptr;
}

void H2Session::detach(H2Stream& stream, std::uint32_t error_code) {
  if (stream.session_ == nullptr) return;
  if (stream.owed_ != 0) std::erase(sent_, &stream);
  if (std::exchange(stream.paused_, false)) std::erase(paused_, &stream);
  const std::uint32_t slot = stream.slot_;
  std::unique_ptr<H2Stream> owned = std::move(streams_[slot]);
  if (slot + 1 != streams_.size()) {
    streams_[slot] = std::move(streams_.back());
    streams_[slot]->slot_ = slot;
  }
  streams_.pop_back();
  stream.session_ = nullptr;
  stream.leave();
  if (!closed_) {
    owed_by_gone_ += stream.connection_owed_;
    give_back_owed();
  }
  release_head(stream);
  queued_ -= stream.unsent();
  account();
  stream.on_close(error_code);
  engine_.bury(std::move(owned));
  if (!closed_) tell_capacity();
}

std::int32_t H2Session::submit_request(const RequestHead& head, bool end, H2Stream& stream,
                                       std::string_view orig_proto) {
  const auto nva = to_nva(head, orig_proto);
  nghttp2_data_provider provider = Callbacks::source(stream);
  const std::int32_t id =
      nghttp2_submit_request(session_, nullptr, nva.data(), nva.size(), end ? nullptr : &provider, &stream);
  flush_later();
  return id;
}

std::int32_t H2Session::submit_connect(std::string_view authority, std::string_view client,
                                       H2Stream& stream) {
  const nghttp2_nv nva[] = {make_nv(":method", "CONNECT"), make_nv(":authority", authority),
                            make_nv("heddle-client", client)};
  nghttp2_data_provider provider = Callbacks::source(stream);
  const std::int32_t id =
      nghttp2_submit_request(session_, nullptr, nva, client.empty() ? 2 : 3, &provider, &stream);
  flush_later();
  return id;
}

void H2Session::submit_response(H2Stream& stream, const ResponseHead& head, bool end) {
  const auto nva = to_nva(head);
  hold_head(stream, head.fields.text_size());
  nghttp2_data_provider provider = Callbacks::source(stream);
  nghttp2_submit_response(session_, stream.id_, nva.data(), nva.size(), end ? nullptr : &provider);
  flush_later();
}

void H2Session::submit_informational(H2Stream& stream, const ResponseHead& head) {
  const auto nva = to_nva(head);
  hold_head(stream, head.fields.text_size());
  nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream.id_, nullptr, nva.data(), nva.size(), nullptr);
  flush_later();
}

bool H2Session::refuses_content(const H2Stream& stream) const {
  // Those whose receivers do not keep up go first.
  if (!budget().nearly_full()) return false;
  return budget().full() ||
         nghttp2_session_get_stream_effective_recv_data_length(session_, stream.id_) > refused_backlog;
}

// nghttp2 keeps a head until the peer reads: counted until it is sent.
void H2Session::hold_head(H2Stream& stream, std::size_t bytes) {
  stream.head_held_ += bytes;
  queued_ += bytes;
  account();
}

void H2Session::release_head(H2Stream& stream) {
  queued_ -= std::exchange(stream.head_held_, 0);
}

// What the peer owes next: its SETTINGS, the rest of a head, or a request.
void H2Session::watch() {
  if (closed_ || !server_ || waits_in() == &stalls_) return;
  const bool late = !greeted_ || open_head_ != 0;
  if (!late && !streams_.empty()) return leave();
  DeadlineList& next = late ? engine_.heads() : engine_.idle();
  if (waits_in() != &next) next.start(*this);
}

// Of a connection whose peer reads nothing, as of a stream (H2Stream::on_deadline). What a peer owes before
// it may ask for anything is awaited for a shorter time.
void H2Session::watch_reader() {
  const bool moved = std::exchange(seen_written_, output_.written()) != seen_written_;
  const bool watched = waits_in() == &stalls_;
  if (blocked_ && (watched ? moved : waits_in() != &engine_.heads()) && stalls_.limits())
    return stalls_.start(*this);
  if (blocked_ || !watched) return;
  leave();
  watch();
}

void H2Session::on_deadline() {
  if (closed_) return;
  if (blocked_ && greeted_ && open_head_ == 0 && stalls_.limits()) {
    spdlog::debug("http: HTTP/2 peer takes nothing of what waits for it, closing its connection");
    budget().count(Refusal::stalled);
    return fail();
  }
  if (!server_) return;
  if (!greeted_ || open_head_ != 0) {
    spdlog::debug("http: HTTP/2 peer did not finish its {} in time", greeted_ ? "HEADERS" : "handshake");
    nghttp2_session_terminate_session(session_,
                                      greeted_ ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_SETTINGS_TIMEOUT);
    return fail();
  }
  if (streams_.empty()) begin_shutdown();
}

bool H2Session::tolerates(std::uint32_t cost, const char* what) {
  if (glitches_.spend(cost, engine_.now())) return true;
  end_hostile(what);
  return false;
}

// The GOAWAY goes out with the end of the running read or write.
void H2Session::end_hostile(const char* what) {
  if (hostile_ != nullptr) return;
  hostile_ = what;
  nghttp2_session_terminate_session(session_, NGHTTP2_ENHANCE_YOUR_CALM);
  flush_later();
}

bool H2Session::request_allowed() const {
  return !closed_ && !read_ended_ && nghttp2_session_check_request_allowed(session_) != 0;
}

std::uint32_t H2Session::peer_max_streams() const {
  return nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

void H2Session::widen(std::int32_t id, std::uint32_t size) {
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, id, static_cast<std::int32_t>(size));
  flush_later();
}

void H2Session::begin_shutdown() {
  if (closed_ || shutdown_timer_) return;
  if (server_) nghttp2_submit_shutdown_notice(session_);
  shutdown_timer_ = std::make_unique<Timer>(engine_.loop(), [this] { say_last(); });
  shutdown_timer_->arm(server_ && mesh_ ? shutdown_patience : shutdown_notice);
  flush_later();
}

void H2Session::say_last() {
  if (closed_) return;
  shutdown_timer_->cancel();
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                        NGHTTP2_NO_ERROR, nullptr, 0);
  flush_later();
}

void H2Session::on_ping_timer() {
  if (closed_) return;
  if (pong_looks_ == most_pong_looks) {
    spdlog::info("http: HTTP/2 peer does not answer PING within {} ms, closing its connection",
                 ping_timeout_.count());
    return fail();
  }
  if (pong_looks_++ == 0) {
    nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
    flush_later();
  }
  ping_timer_->arm(ping_timeout_ / most_pong_looks);
}

void H2Session::on_readable() {
  read();
}

void H2Session::on_writable() {
  blocked_ = false;
  if (std::exchange(reading_stopped_, false)) {
    want_read_ = true;
    flush_later();
  }
  flush();
}

void H2Session::tell_capacity() {
  if (server_) return;  // only who opens streams waits for it
  capacity_changed_ = true;
  flush_later();
}

void H2Session::on_turn() {
  if (closed_) return;
  // From here and not from within nghttp2: whoever waited for it goes to work at once.
  if (std::exchange(capacity_changed_, false)) on_capacity();
  if (closed_) return;
  if (std::exchange(want_read_, false)) read();
  if (!closed_) give_back_owed();
  flush();
  watch();
}

void H2Session::read() {
  // Answers pile up in front of a client that does not read: it may not ask for more of them. A client's side
  // always reads, or two proxies could wait for each other.
  if (server_ && blocked_ && nghttp2_session_get_outbound_queue_size(session_) > most_unread) {
    reading_stopped_ = true;
    return;
  }
  // What was asked for goes before what the peer says next: after a GOAWAY nghttp2 would keep it back, though
  // whoever gives notice takes it still.
  if (!server_ && nghttp2_session_get_outbound_queue_size(session_) != 0 && !gather(SIZE_MAX)) return fail();
  for (int i = 0; i < reads_per_turn && !closed_ && !read_ended_; ++i) {
    const IoResult result = stream_->read(engine_.scratch());
    if (result.status == IoStatus::would_block) return;
    if (result.status == IoStatus::error) return fail();
    if (result.status == IoStatus::eof) {
      // HTTP/2 has no half-closed connections.
      read_ended_ = true;
      return fail();
    }
    // Any byte proves that the peer lives.
    if (std::exchange(pong_looks_, std::uint8_t{0}) != 0) ping_timer_->arm(ping_interval_);
    const ssize_t used = nghttp2_session_mem_recv(
        session_, reinterpret_cast<const std::uint8_t*>(engine_.scratch().data()), result.size);
    if (closed_) return;
    if (used == NGHTTP2_ERR_FLOODED || used == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
      end_hostile(used == NGHTTP2_ERR_FLOODED ? "unread acknowledgements" : "CONTINUATION");
    if (used < 0) {
      spdlog::debug("http: HTTP/2 connection broken reason=\"{}\"", nghttp2_strerror(static_cast<int>(used)));
      return fail();
    }
    flush_later();
  }
  if (closed_ || read_ended_) return;
  want_read_ = true;
  flush_later();
}

// Of content never more than most_gathered.
bool H2Session::gather(std::size_t most) {
  while (output_.size() < most) {
    const std::uint8_t* bytes = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &bytes);
    if (size < 0) return false;
    if (size == 0) break;
    output_.text().append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  }
  return true;
}

void H2Session::flush() {
  for (int i = 0; !closed_ && !blocked_; ++i) {
    if (!gather(most_gathered)) {
      spdlog::warn("http: HTTP/2 frames cannot be made, closing the connection");
      return fail();
    }
    tell_sent();
    if (closed_) return;
    if (hostile_ != nullptr) return fail();
    if (output_.empty()) break;
    switch (output_.flush(*stream_)) {
      case Output::Flushed::error:
        return fail();
      case Output::Flushed::blocked:
        blocked_ = true;
        break;
      case Output::Flushed::all:
        resume_paused();
        break;
    }
    if (i == gathers_per_turn) {
      account();
      return flush_later();
    }
  }
  account();
  if (!closed_) watch_reader();
  if (!closed_ && !blocked_ && nghttp2_session_want_read(session_) == 0 &&
      nghttp2_session_want_write(session_) == 0)
    fail();
}

void H2Session::tell_sent() {
  while (!sent_.empty()) {
    H2Stream& stream = *sent_.back();
    sent_.pop_back();
    stream.on_sent(std::exchange(stream.owed_, 0));
    if (closed_) return;
  }
}

// What a stream brought that has ended may still be in our hands, on its way to a slow reader: were its
// window given back at once, more would come however much the pod holds. Nobody tells when that left, so the
// account is looked at.
void H2Session::give_back_owed() {
  if (owed_by_gone_ == 0) return;
  if (budget().tight()) {
    if (!owed_timer_)
      owed_timer_ = std::make_unique<Timer>(engine_.loop(), [this] {
        if (!closed_) give_back_owed();
      });
    if (!owed_timer_->armed()) owed_timer_->arm(owed_look);
    return;
  }
  nghttp2_session_consume_connection(session_, std::exchange(owed_by_gone_, 0));
  flush_later();
}

void H2Session::resume_paused() {
  for (H2Stream* stream : paused_) {
    stream->paused_ = stream->deferred_ = false;
    nghttp2_session_resume_data(session_, stream->id_);
  }
  paused_.clear();
}

void H2Session::end_streams(std::uint32_t error_code) {
  sent_.clear();
  while (!streams_.empty()) {
    H2Stream& stream = *streams_.back();
    stream.owed_ = 0;
    nghttp2_session_set_stream_user_data(session_, stream.id_, nullptr);
    detach(stream, error_code);
  }
}

void H2Session::fail() {
  if (closed_) return;
  if (hostile_ != nullptr) {
    budget().count(Refusal::flood);
    spdlog::info("http: HTTP/2 connection ended, its peer does too much of one thing what=\"{}\"", hostile_);
  }
  // What nghttp2 wants to say last (GOAWAY with the reason) goes out if the socket takes it now.
  if (!read_ended_ && !blocked_ && gather(most_gathered) && !output_.empty()) (void)output_.flush(*stream_);
  closed_ = true;
  stream_->set_events(nullptr);
  const bool clean = streams_.empty() && output_.empty();
  end_streams(NGHTTP2_CONNECT_ERROR);
  // Streams that were cut lack their END_STREAM: a reset would add nothing but destroy the GOAWAY and the
  // ends of others.
  if (server_ && output_.empty() && !read_ended_) {
    farewell_ = std::make_unique<Farewell>(engine_, std::move(stream_), [this] { on_session_end(); });
    return;
  }
  if (clean) {
    stream_->finish_writes();
  } else {
    stream_->reset();
  }
  on_session_end();
}

void H2Session::close() {
  farewell_.reset();
  if (closed_) return;
  closed_ = true;
  stream_->set_events(nullptr);
  end_streams(NGHTTP2_CONNECT_ERROR);
  stream_->reset();
}

void H2Session::submit_plain_response(H2Stream& stream, std::uint16_t status, std::string_view error,
                                      bool end) {
  char digits[8];
  const auto [stop, failed] = std::to_chars(digits, digits + sizeof digits, status);
  const nghttp2_nv nva[] = {make_nv(":status", {digits, static_cast<std::size_t>(stop - digits)}),
                            make_nv("l5d-proxy-error", error)};
  nghttp2_data_provider provider = Callbacks::source(stream);
  nghttp2_submit_response(session_, stream.id_, nva, error.empty() ? 1 : 2, end ? nullptr : &provider);
  flush_later();
}

}  // namespace heddle::proxy::http
