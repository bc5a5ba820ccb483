// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/h2_connection.h"

#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "control/source/kubernetes/h2_stream.h"

namespace heddle::source::kubernetes {
namespace {

namespace asio = boost::asio;

constexpr auto awaited = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t output_piece = 64 * 1024;

}  // namespace

// A question is known to the connection while its frame lives; whoever stops waiting resets its stream.
class H2Connection::Registration {
 public:
  Registration(std::shared_ptr<H2Connection> owner, Stream& stream)
      : owner_(std::move(owner)), stream_(stream) {
    owner_->streams_.insert(&stream_);
  }
  ~Registration() {
    owner_->streams_.erase(&stream_);
    // When all stops there is nobody left to write to.
    if (owner_->dead_ || owner_->context_.stopped()) return;
    if (!stream_.closed && stream_.id > 0) {
      nghttp2_session_set_stream_user_data(owner_->session_, stream_.id, nullptr);
      nghttp2_submit_rst_stream(owner_->session_, NGHTTP2_FLAG_NONE, stream_.id, NGHTTP2_CANCEL);
      owner_->flush();
    }
    owner_->end_if_retired();
  }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

 private:
  const std::shared_ptr<H2Connection> owner_;
  Stream& stream_;
};

struct H2Connection::Callbacks {
  static H2Connection& connection(void* user_data) { return *static_cast<H2Connection*>(user_data); }
  static Stream* stream(nghttp2_session* session, std::int32_t id) {
    return static_cast<Stream*>(nghttp2_session_get_stream_user_data(session, id));
  }

  static int on_header(nghttp2_session* session, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size, std::uint8_t,
                       void*) {
    Stream* const found = stream(session, frame->hd.stream_id);
    if (found != nullptr) {
      found->on_field({reinterpret_cast<const char*>(name), name_size},
                      {reinterpret_cast<const char*>(value), value_size});
    }
    return 0;
  }

  static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* user_data) {
    H2Connection& self = connection(user_data);
    if (frame->hd.type == NGHTTP2_SETTINGS && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
      self.settled_ = true;
      self.settling_.cancel();
    }
    if (frame->hd.type == NGHTTP2_GOAWAY) {
      spdlog::debug("the API server ends a connection: no new questions over it");
      self.retired_ = true;
    }
    Stream* const found = stream(session, frame->hd.stream_id);
    if (found == nullptr) return 0;
    if (frame->hd.type == NGHTTP2_HEADERS) found->on_head();
    const bool carries = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (carries && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) found->on_end();
    return 0;
  }

  static int on_data(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                     std::size_t size, void*) {
    if (Stream* const found = stream(session, id)) {
      found->on_data({reinterpret_cast<const char*>(data), size});
    }
    return 0;
  }

  // Never opened: there was a GOAWAY before it could be.
  static int on_not_sent(nghttp2_session* session, const nghttp2_frame* frame, int, void*) {
    Stream* const found = stream(session, frame->hd.stream_id);
    if (found != nullptr && frame->hd.type == NGHTTP2_HEADERS) found->untouched = true;
    return 0;
  }

  static int on_close(nghttp2_session* session, std::int32_t id, std::uint32_t code, void* user_data) {
    if (Stream* const found = stream(session, id)) {
      found->on_close(connection(user_data).link_->peer, code);
    }
    return 0;
  }

  static ssize_t read_body(nghttp2_session* session, std::int32_t id, std::uint8_t* to, std::size_t size,
                           std::uint32_t* flags, nghttp2_data_source*, void*) {
    Stream* const found = stream(session, id);
    if (found == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return static_cast<ssize_t>(found->read_body(to, size, *flags));
  }

  static const nghttp2_session_callbacks* table() {
    static const auto made = [] {
      nghttp2_session_callbacks* out = nullptr;
      if (nghttp2_session_callbacks_new(&out) != 0) std::abort();
      nghttp2_session_callbacks_set_on_header_callback(out, on_header);
      nghttp2_session_callbacks_set_on_frame_recv_callback(out, on_frame);
      nghttp2_session_callbacks_set_on_data_chunk_recv_callback(out, on_data);
      nghttp2_session_callbacks_set_on_frame_not_send_callback(out, on_not_sent);
      nghttp2_session_callbacks_set_on_stream_close_callback(out, on_close);
      return out;
    }();
    return made;
  }
};

H2Connection::H2Connection(asio::io_context& context, std::unique_ptr<Link> link, const Timeouts& timeouts,
                           std::shared_ptr<const ExecCredential> shown)
    : context_(context),
      link_(std::move(link)),
      timeouts_(timeouts),
      shown_(std::move(shown)),
      health_(context),
      settling_(context) {
  if (nghttp2_session_client_new(&session_, Callbacks::table(), this) != 0) std::abort();  // no memory
  const std::array<nghttp2_settings_entry, 2> settings{
      {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}, {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, stream_window}}};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, connection_window);
}

H2Connection::~H2Connection() {
  nghttp2_session_del(session_);
}

asio::awaitable<Result<>> H2Connection::begin() {
  link_->socket().expires_never();  // other clocks run here
  last_heard_ = Clock::now();
  flush();
  asio::co_spawn(context_, read(shared_from_this()), asio::detached);
  settling_.expires_after(timeouts_.connect);
  if (!settled_ && !dead_) co_await settling_.async_wait(awaited);
  if (dead_) co_return *dead_;
  if (!settled_) co_return make_error(Errc::timeout, link_->peer + ": no SETTINGS of HTTP/2 in time");
  watch_health();
  co_return Result<>();
}

bool H2Connection::usable() const {
  if (dead_ || retired_ || !settled_) return false;
  return nghttp2_session_check_request_allowed(session_) != 0 && !peer_has_ended();
}

bool H2Connection::has_room() const {
  return streams_.size() <
         nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

// What it said before may not have been read yet.
bool H2Connection::peer_has_ended() const {
  pollfd look{link_->socket().socket().native_handle(), POLLRDHUP, 0};
  return ::poll(&look, 1, 0) != 0;
}

asio::awaitable<Exchanged> H2Connection::exchange(const Outgoing& asked, const Sink* sink) {
  Stream stream(context_, sink, asked.request.body);
  const Registration registered(shared_from_this(), stream);
  if (auto failed = start(stream, asked)) co_return Exchanged{*failed, false, true};
  co_await wait_for(stream);
  if (stream.error) co_return Exchanged{*stream.error, stream.heard, stream.untouched};
  co_return Exchanged{stream.builder.take(), true, false};
}

std::optional<Error> H2Connection::start(Stream& stream, const Outgoing& asked) {
  const auto fields = h2_fields(asked);
  std::vector<nghttp2_nv> list;
  for (const auto& [name, value] : fields) {
    list.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                    reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(),
                    value.size(), NGHTTP2_NV_FLAG_NONE});
    // A token must not be told by how well a header that has it compresses.
    if (name == "authorization") list.back().flags = NGHTTP2_NV_FLAG_NO_INDEX;
  }
  nghttp2_data_provider body{{}, Callbacks::read_body};
  const bool has_body = !asked.request.body.empty();
  stream.id = nghttp2_submit_request(session_, nullptr, list.data(), list.size(), has_body ? &body : nullptr,
                                     &stream);
  if (stream.id < 0) return make_error(Errc::closed, link_->peer + ": " + nghttp2_strerror(stream.id));
  flush();
  return std::nullopt;
}

H2Connection::Clock::time_point H2Connection::deadline_of(const Stream& stream) const {
  const bool lasts = stream.begun && stream.builder.streaming();
  return stream.last_heard + (lasts ? timeouts_.silence : timeouts_.answer);
}

asio::awaitable<void> H2Connection::wait_for(Stream& stream) {
  while (!stream.over()) {
    stream.wake.expires_at(deadline_of(stream));
    co_await stream.wake.async_wait(awaited);
    if (stream.over()) co_return;
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) {
      stream.error = Error{asio::error::operation_aborted, link_->peer + ": not waited for any longer"};
      co_return;
    }
    if (Clock::now() < deadline_of(stream)) continue;
    stream.error = make_error(Errc::timeout, link_->peer + (stream.begun ? ": an answer broke off: silence"
                                                                         : ": no answer in time"));
    probe();
  }
}

asio::awaitable<void> H2Connection::read(std::shared_ptr<H2Connection> self) {
  while (!self->dead_) {
    const auto [error, bytes] = co_await link_->stream.async_read_some(asio::buffer(input_), awaited);
    if (error) {
      die(link_->failed(error, "the connection broke off"));
    } else {
      take(bytes);
    }
  }
}

void H2Connection::take(std::size_t bytes) {
  if (dead_) return;
  last_heard_ = Clock::now();
  // Whatever it says shows that it lives.
  if (std::exchange(pinged_, std::nullopt)) watch_health();
  const auto used = nghttp2_session_mem_recv(session_, input_.data(), bytes);
  if (used < 0) {
    return die(make_error(Errc::protocol,
                          link_->peer + ": not HTTP/2: " + nghttp2_strerror(static_cast<int>(used))));
  }
  flush();
  end_if_retired();
}

void H2Connection::flush() {
  if (writing_ || dead_) return;
  output_.clear();
  while (output_.size() < output_piece) {
    const std::uint8_t* data = nullptr;
    const auto size = nghttp2_session_mem_send(session_, &data);
    if (size < 0) {
      return die(
          make_error(Errc::internal, link_->peer + ": HTTP/2: " + nghttp2_strerror(static_cast<int>(size))));
    }
    if (size == 0) break;
    output_.append(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
  }
  if (output_.empty()) {
    // After an error of the protocol the last words have been said.
    const bool over = nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
    if (over) die(make_error(Errc::closed, link_->peer + ": the connection was ended"));
    return;
  }
  writing_ = true;
  asio::async_write(link_->stream, asio::buffer(output_),
                    [self = shared_from_this()](const boost::system::error_code& error, std::size_t) {
                      self->writing_ = false;
                      if (error) return self->die(self->link_->failed(error, "cannot send a request"));
                      self->flush();
                    });
}

void H2Connection::die(const Error& why) {
  if (dead_) return;
  dead_ = why;
  for (Stream* stream : streams_) stream->fail(why);
  settling_.cancel();
  health_.cancel();
  link_->socket().close();
}

void H2Connection::close() {
  die(make_error(Errc::closed, link_->peer + ": the connection was ended"));
}

void H2Connection::retire() {
  retired_ = true;
  end_if_retired();
}

void H2Connection::end_if_retired() {
  if (retired_ && streams_.empty()) close();
}

void H2Connection::probe() {
  if (pinged_ || dead_) return;
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  pinged_ = Clock::now();
  flush();
  watch_health();
}

void H2Connection::watch_health() {
  if (dead_) return;
  health_.expires_at(pinged_ ? *pinged_ + timeouts_.ping_answer : last_heard_ + timeouts_.ping_after);
  health_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (self && !error) self->check_health();
  });
}

void H2Connection::check_health() {
  const auto now = Clock::now();
  if (pinged_ && now >= *pinged_ + timeouts_.ping_answer) {
    return die(make_error(Errc::timeout, link_->peer + ": silent, and a PING was not answered in time"));
  }
  if (!pinged_ && now >= last_heard_ + timeouts_.ping_after) return probe();
  watch_health();
}

}  // namespace heddle::source::kubernetes
