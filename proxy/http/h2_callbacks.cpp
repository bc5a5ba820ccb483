// SPDX-License-Identifier: Apache-2.0
#include "proxy/http/h2_callbacks.h"

#include <utility>

#include "base/log.h"
#include "proxy/http/h2_fields.h"

namespace heddle::proxy::http {
namespace {

void count_refused(const ByteBudget& budget) {
  if (PodLoad* load = budget.load()) load->streams_refused.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

H2Session& H2Session::Callbacks::self(void* user) {
  return *static_cast<H2Session*>(user);
}

H2Stream* H2Session::Callbacks::stream(nghttp2_session* session, std::int32_t id) {
  return static_cast<H2Stream*>(nghttp2_session_get_stream_user_data(session, id));
}

int H2Session::Callbacks::begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
  if (frame->hd.type != NGHTTP2_HEADERS) return 0;
  self(user).open_head_ = frame->hd.stream_id;
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
                                 nghttp2_rcbuf* value, std::uint8_t, void*) {
  H2Stream* found = stream(session, frame->hd.stream_id);
  if (found == nullptr) return 0;
  const nghttp2_vec n = nghttp2_rcbuf_get_buf(name);
  const nghttp2_vec v = nghttp2_rcbuf_get_buf(value);
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
    case NGHTTP2_GOAWAY:
      self(user).on_goaway();
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
  if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
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
  H2Stream* found = self(user).find(frame->hd.stream_id);
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
                                          nghttp2_data_source* source, void*) {
  auto& stream = *static_cast<H2Stream*>(source->ptr);
  const std::size_t ready = stream.unsent();
  if (ready == 0 && !stream.end_queued_) {
    stream.deferred_ = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  const std::size_t size = std::min(ready, limit);
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
  out.append(reinterpret_cast<const char*>(head), 9);
  out.append(stream.queue_, stream.queue_sent_, size);
  stream.queue_sent_ += size;
  session.queued_ -= size;
  if (stream.queue_sent_ == stream.queue_.size()) {
    session.engine_.give_buffer(std::move(stream.queue_));
    stream.queue_ = std::string();
    stream.queue_sent_ = 0;
  }
  if (stream.owed_ == 0 && size != 0) session.sent_.push_back(&stream);
  stream.owed_ += size;
  return 0;
}

nghttp2_session_callbacks* H2Session::Callbacks::table() {
  static nghttp2_session_callbacks* const shared = [] {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
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
