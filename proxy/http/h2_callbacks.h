// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nghttp2/nghttp2.h>

#include "proxy/http/h2_session.h"

namespace heddle::proxy::http {

// What nghttp2 calls while it reads and writes frames of a session (nghttp2's "user data"). Included by the
// HTTP/2 codecs' .cpp files only.
struct H2Session::Callbacks {
  // Shared by all sessions.
  static nghttp2_session_callbacks* table();
  // Of a stream's content: without a copy through nghttp2's frame buffer.
  static nghttp2_data_provider source(H2Stream& stream);

 private:
  static H2Session& self(void* user);
  static H2Stream* stream(nghttp2_session* session, std::int32_t id);
  static int begin_frame(nghttp2_session* session, const nghttp2_frame_hd* head, void* user);
  static int begin_headers(nghttp2_session* session, const nghttp2_frame* frame, void* user);
  static int header(nghttp2_session* session, const nghttp2_frame* frame, nghttp2_rcbuf* name,
                    nghttp2_rcbuf* value, std::uint8_t, void*);
  static int data_chunk(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* bytes,
                        std::size_t size, void* user);
  static int frame_recv(nghttp2_session* session, const nghttp2_frame* frame, void* user);
  static int frame_send(nghttp2_session* session, const nghttp2_frame* frame, void* user);
  static int frame_not_send(nghttp2_session* session, const nghttp2_frame* frame, int, void* user);
  static int stream_close(nghttp2_session* session, std::int32_t id, std::uint32_t error_code, void* user);
  static ssize_t read_source(nghttp2_session* session, std::int32_t id, std::uint8_t*, std::size_t limit,
                             std::uint32_t* flags, nghttp2_data_source* source, void*);
  static int send_data(nghttp2_session*, nghttp2_frame*, const std::uint8_t* head, std::size_t size,
                       nghttp2_data_source* source, void* user);
};

}  // namespace heddle::proxy::http
