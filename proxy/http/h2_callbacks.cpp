// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/h2_callbacks.h"

#include <cstring>
#include <utility>

#include "base/log.h"
#include "proxy/http/h2_fields.h"

namespace heddle::proxy::http {
namespace {

// What frames cost that carry nothing (Glitches).
constexpr std::uint32_t idle_frame_cost = 1;
constexpr std::uint32_t settings_cost = 10;
constexpr std::uint32_t provoked_reset_cost = 10;
constexpr std::uint32_t refused_stream_cost = 2;
// And what a peer earns by requests, and by content that fills a frame or ends what waits: a window that is
// opened byte by byte earns nothing.
constexpr std::uint32_t request_pay = 1;
constexpr std::uint32_t content_pay = 4;
constexpr std::size_t whole_content = 1024;
// A header block that decodes to more than this is not even read to its end: one byte can stand for 4 KiB.
constexpr std::size_t most_decoded = 4 * max_head_bytes;

// The head of a frame (RFC 9113, section 4.1), and what content has to bring at least to be worth a frame of
// its own.
constexpr std::size_t frame_head_size = 9;
constexpr std::size_t least_piece = 1024;

// For content of one more frame of this write.
std::size_t room_in(const Output& output) {
  const std::size_t with_head = output.size() + frame_head_size;
  return with_head < most_gathered ? most_gathered - with_head : 0;
}

// What a frame is that carries nothing; null: it carries something, or what it is the answer to limits it.
const char* idle_frame(const nghttp2_frame_hd& head) {
  switch (head.type) {
    case NGHTTP2_DATA:
      return head.length == 0 && (head.flags & NGHTTP2_FLAG_END_STREAM) == 0 ? "empty DATA" : nullptr;
    case NGHTTP2_HEADERS:
    case NGHTTP2_CONTINUATION:
      return nullptr;
    case NGHTTP2_PRIORITY:
      return "PRIORITY";
    case NGHTTP2_RST_STREAM:
      return "RST_STREAM";
    case NGHTTP2_SETTINGS:
      return "SETTINGS";
    case NGHTTP2_PING:
      return "PING";
    case NGHTTP2_GOAWAY:
      return "GOAWAY";
    case NGHTTP2_WINDOW_UPDATE:
      return "WINDOW_UPDATE";
    default:
      return nullptr;
  }
}

// Follows the notice of a shutdown: whoever answers it has read the notice.
constexpr std::uint8_t after_notice[8] = {'l', 'a', 's', 't', ' ', 'o', 'n', 'e'};
constexpr std::int32_t notice_id = 0x7fffffff;

// nghttp2 says INTERNAL_ERROR of too many resets.
Refusal why_ended(std::uint32_t error_code) {
  if (error_code == NGHTTP2_INTERNAL_ERROR) return Refusal::flood;
  if (error_code == NGHTTP2_SETTINGS_TIMEOUT || error_code == NGHTTP2_ENHANCE_YOUR_CALM)
    return Refusal::too_slow;
  return Refusal::malformed;
}

// Errors of a stream that its peer made; our own resets have other codes.
bool is_provoked(std::uint32_t error_code) {
  return error_code == NGHTTP2_PROTOCOL_ERROR || error_code == NGHTTP2_FLOW_CONTROL_ERROR ||
         error_code == NGHTTP2_STREAM_CLOSED || error_code == NGHTTP2_FRAME_SIZE_ERROR;
}

void count_refused(const ByteBudget& budget) {
  budget.count_full();
  if (PodLoad* load = budget.load()) load->streams_refused.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

H2Session& H2Session::Callbacks::self(void* user) {
  return *static_cast<H2Session*>(user);
}

H2Stream* H2Session::Callbacks::stream(nghttp2_session* session, std::int32_t id) {
  return static_cast<H2Stream*>(nghttp2_session_get_stream_user_data(session, id));
}

// Here and not when the frame was read: of what is for streams that are over nghttp2 says no more.
int H2Session::Callbacks::begin_frame(nghttp2_session*, const nghttp2_frame_hd* head, void* user) {
  if (head->type == NGHTTP2_HEADERS) self(user).glitches_.earn(request_pay);
  const char* what = idle_frame(*head);
  if (what == nullptr) return 0;
  const std::uint32_t cost = head->type == NGHTTP2_SETTINGS ? settings_cost : idle_frame_cost;
  return self(user).tolerates(cost, what) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

int H2Session::Callbacks::begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
  if (frame->hd.type != NGHTTP2_HEADERS) return 0;
  self(user).open_head_ = frame->hd.stream_id;
  self(user).head_bytes_ = 0;
  self(user).leave();  // a new head, a new deadline
  if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  // A refused stream may be tried elsewhere or later (RFC 9113 8.7).
  const bool full = self(user).budget().full();
  auto made = full ? nullptr : self(user).on_new_stream();
  if (!made) {
    if (full) count_refused(self(user).budget());
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
    return 0;
  }
  nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, made.get());
  self(user).attach(std::move(made), frame->hd.stream_id);
  return 0;
}

int H2Session::Callbacks::header(nghttp2_session* session, const nghttp2_frame* frame, nghttp2_rcbuf* name,
                                 nghttp2_rcbuf* value, std::uint8_t, void* user) {
  const nghttp2_vec n = nghttp2_rcbuf_get_buf(name);
  const nghttp2_vec v = nghttp2_rcbuf_get_buf(value);
  self(user).head_bytes_ += n.len + v.len;
  if (self(user).head_bytes_ > most_decoded) {
    self(user).end_hostile("header fields of one head");
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
  H2Stream* found = stream(session, frame->hd.stream_id);
  if (found == nullptr) return 0;
  found->on_header({reinterpret_cast<const char*>(n.base), n.len},
                   {reinterpret_cast<const char*>(v.base), v.len});
  return 0;
}

int H2Session::Callbacks::data_chunk(nghttp2_session* session, std::uint8_t, std::int32_t id,
                                     const std::uint8_t* bytes, std::size_t size, void* user) {
  H2Session& connection = self(user);
  H2Stream* found = stream(session, id);
  if (found != nullptr && !found->refused_ && connection.refuses_content(*found)) {
    found->refused_ = true;
    count_refused(connection.budget());
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_ENHANCE_YOUR_CALM);
  }
  if (found == nullptr || found->refused_) {
    nghttp2_session_consume_connection(session, size);
    return 0;
  }
  // One slow stream must not stop the others: the connection's window is given back at once, the stream's
  // with what its receiver consumed. But while the pod holds much, both are.
  if (connection.budget().tight()) {
    found->connection_owed_ += size;
  } else {
    nghttp2_session_consume_connection(session, size);
  }
  found->on_data({reinterpret_cast<const std::byte*>(bytes), size});
  return 0;
}

int H2Session::Callbacks::frame_recv(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
  const bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
      self(user).open_head_ = 0;
      if (H2Stream* found = stream(session, frame->hd.stream_id)) found->on_headers_end(end);
      break;
    case NGHTTP2_DATA:
      if (!end) break;
      if (H2Stream* found = stream(session, frame->hd.stream_id)) found->on_end();
      break;
    case NGHTTP2_SETTINGS:
      self(user).greeted_ = true;
      self(user).tell_capacity();
      break;
    case NGHTTP2_RST_STREAM:
      if (H2Stream* found = stream(session, frame->hd.stream_id)) found->reset_by_peer_ = true;
      break;
    case NGHTTP2_GOAWAY:
      self(user).on_goaway();
      break;
    case NGHTTP2_PING:
      if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 && self(user).shutdown_timer_ &&
          self(user).shutdown_timer_->armed() &&
          std::memcmp(frame->ping.opaque_data, after_notice, sizeof after_notice) == 0)
        self(user).say_last();
      break;
    default:
      break;
  }
  return 0;
}

int H2Session::Callbacks::frame_send(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
  if (frame->hd.type == NGHTTP2_HEADERS) {
    if (H2Stream* found = stream(session, frame->hd.stream_id)) self(user).release_head(*found);
  }
  // Streams that fail by what their peer sends cost it as much as those that it resets itself.
  if (frame->hd.type == NGHTTP2_RST_STREAM && is_provoked(frame->rst_stream.error_code)) {
    self(user).budget().count(Refusal::malformed);
    (void)self(user).tolerates(provoked_reset_cost, "streams to be reset");
  }
  if (frame->hd.type == NGHTTP2_RST_STREAM && frame->rst_stream.error_code == NGHTTP2_REFUSED_STREAM)
    (void)self(user).tolerates(refused_stream_cost, "streams beyond the limit");
  // Not with the notice: nghttp2 would send it first.
  if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.last_stream_id == notice_id && self(user).server_ &&
      self(user).mesh_)
    nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, after_notice);
  if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
    if (self(user).hostile_ == nullptr) self(user).budget().count(why_ended(frame->goaway.error_code));
    spdlog::info("http: HTTP/2 connection ended, its peer broke the protocol error={} reason=\"{}\"",
                 nghttp2_http2_strerror(frame->goaway.error_code),
                 std::string_view(reinterpret_cast<const char*>(frame->goaway.opaque_data),
                                  frame->goaway.opaque_data_len));
  }
  if ((frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
      (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
    if (H2Stream* found = stream(session, frame->hd.stream_id)) {
      found->end_sent_ = true;
      found->on_end_sent();
    }
  }
  return 0;
}

int H2Session::Callbacks::frame_not_send(nghttp2_session* session, const nghttp2_frame* frame, int,
                                         void* user) {
  if (frame->hd.type != NGHTTP2_HEADERS) return 0;
  // nghttp2 does not know a request of ours any more; the answers of a flood of resets must not be searched
  // for.
  H2Stream* found =
      self(user).server_ ? stream(session, frame->hd.stream_id) : self(user).find(frame->hd.stream_id);
  if (found == nullptr) return 0;
  if (self(user).server_) {
    // An answer that cannot be sent: without this its requester would wait for ever.
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_INTERNAL_ERROR);
    return 0;
  }
  // A request after GOAWAY, or with no stream id left: it was never seen by the peer.
  self(user).detach(*found, NGHTTP2_REFUSED_STREAM);
  return 0;
}

int H2Session::Callbacks::stream_close(nghttp2_session* session, std::int32_t id, std::uint32_t error_code,
                                       void* user) {
  if (self(user).open_head_ == id) self(user).open_head_ = 0;
  if (H2Stream* found = stream(session, id)) {
    nghttp2_session_set_stream_user_data(session, id, nullptr);
    self(user).detach(*found, error_code);
  }
  return 0;
}

// Content without a copy through nghttp2's frame buffer: read_source() only says how much, send_data()
// moves it.
ssize_t H2Session::Callbacks::read_source(nghttp2_session* session, std::int32_t id, std::uint8_t*,
                                          std::size_t limit, std::uint32_t* flags,
                                          nghttp2_data_source* source, void* user) {
  auto& stream = *static_cast<H2Stream*>(source->ptr);
  H2Session& connection = self(user);
  const std::size_t ready = stream.unsent();
  if (ready == 0 && !stream.end_queued_) {
    stream.deferred_ = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  std::size_t size = std::min(ready, limit);
  // nghttp2 goes on by itself as long as there is content. What is gathered counts as sent to whoever it came
  // from, who then sends more.
  const std::size_t room = room_in(connection.output_);
  if (size > room) {
    if (room < least_piece) {
      stream.deferred_ = stream.paused_ = true;
      connection.paused_.push_back(&stream);
      return NGHTTP2_ERR_DEFERRED;
    }
    size = room;
  }
  *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (size == ready && stream.end_queued_) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream.trailers_) {
      *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const auto nva = to_nva(*stream.trailers_);
      nghttp2_submit_trailer(session, id, nva.data(), nva.size());
    }
  }
  return static_cast<ssize_t>(size);
}

int H2Session::Callbacks::send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* head,
                                    std::size_t size, nghttp2_data_source* source, void* user) {
  auto& stream = *static_cast<H2Stream*>(source->ptr);
  H2Session& session = self(user);
  std::string& out = session.output_.text();
  out.append(reinterpret_cast<const char*>(head), frame_head_size);
  out.append(stream.queue_, stream.queue_sent_, size);
  stream.queue_sent_ += size;
  session.queued_ -= size;
  const bool all = stream.queue_sent_ == stream.queue_.size();
  if (all) {
    stream.leave();
  } else if (stream.waits_in() != nullptr) {
    session.stalls_.start(stream);
  }
  if (all || size >= whole_content) session.glitches_.earn(content_pay);
  if (all) {
    session.engine_.give_buffer(std::move(stream.queue_));
    stream.queue_ = std::string();
    stream.queue_sent_ = 0;
  }
  if (stream.owed_ == 0 && size != 0) session.sent_.push_back(&stream);
  stream.owed_ += size;
  // Without a pause nghttp2 would ask every other stream that has content, and each would be put off and on
  // again: with thousands of them, milliseconds for each write.
  return room_in(session.output_) < least_piece ? NGHTTP2_ERR_PAUSE : 0;
}

nghttp2_session_callbacks* H2Session::Callbacks::table() {
  static nghttp2_session_callbacks* const shared = [] {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, frame_not_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_close);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
    return callbacks;
  }();
  return shared;
}

nghttp2_data_provider H2Session::Callbacks::source(H2Stream& stream) {
  nghttp2_data_provider provider{};
  provider.source.ptr = &stream;
  provider.read_callback = read_source;
  return provider;
}

}  // namespace heddle::proxy::http
