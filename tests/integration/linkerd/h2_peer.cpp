// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/linkerd/h2_peer.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstring>

namespace heddle::test {
namespace {
constexpr std::chrono::seconds patience{10};
}

std::string H2Message::get(std::string_view name) const {
  for (const auto& [key, value] : fields) {
    if (key == name) return value;
  }
  return {};
}

bool H2Message::has(std::string_view name) const {
  return std::any_of(fields.begin(), fields.end(), [&](const auto& field) { return field.first == name; });
}

struct H2Peer::Callbacks {
  static H2Peer& self(void* user) { return *static_cast<H2Peer*>(user); }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size, std::uint8_t,
                       void* user) {
    self(user).messages_[frame->hd.stream_id].fields.emplace_back(
        std::string(reinterpret_cast<const char*>(name), name_size),
        std::string(reinterpret_cast<const char*>(value), value_size));
    return 0;
  }
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t stream, const std::uint8_t* data,
                     std::size_t size, void* user) {
    self(user).messages_[stream].body.append(reinterpret_cast<const char*>(data), size);
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    const bool message = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (!message || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    H2Peer& peer = self(user);
    peer.messages_[frame->hd.stream_id].ended = true;
    if (peer.server_) peer.requests_.push_back(frame->hd.stream_id);
    return 0;
  }
  static int on_close(nghttp2_session*, std::int32_t stream, std::uint32_t error, void* user) {
    if (error != NGHTTP2_NO_ERROR) self(user).messages_[stream].reset = true;
    return 0;
  }
  static ssize_t read_body(nghttp2_session*, std::int32_t stream, std::uint8_t* into, std::size_t size,
                           std::uint32_t* flags, nghttp2_data_source*, void* user) {
    std::string& body = self(user).bodies_[stream];
    const std::size_t n = std::min(size, body.size());
    std::memcpy(into, body.data(), n);
    body.erase(0, n);
    if (body.empty()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(n);
  }
  static std::vector<nghttp2_nv> pairs(const H2Fields& fields) {
    std::vector<nghttp2_nv> out;
    for (const auto& [name, value] : fields) {
      out.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
                     reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(),
                     value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    return out;
  }
};

H2Peer::H2Peer(Peer& connection, bool server) : connection_(connection), server_(server) {
  nghttp2_session_callbacks* callbacks = nullptr;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, &Callbacks::on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, &Callbacks::on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, &Callbacks::on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, &Callbacks::on_close);
  if (server) {
    nghttp2_session_server_new(&session_, callbacks, this);
  } else {
    nghttp2_session_client_new(&session_, callbacks, this);
  }
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0);
}

H2Peer::~H2Peer() {
  nghttp2_session_del(session_);
}

std::int32_t H2Peer::request(const H2Fields& fields, std::string body) {
  const auto nva = Callbacks::pairs(fields);
  nghttp2_data_provider provider{};
  provider.read_callback = &Callbacks::read_body;
  const std::int32_t stream = nghttp2_submit_request(session_, nullptr, nva.data(), nva.size(),
                                                     body.empty() ? nullptr : &provider, nullptr);
  bodies_[stream] = std::move(body);
  flush();
  return stream;
}

void H2Peer::respond(std::int32_t stream, const H2Fields& fields, std::string body) {
  const auto nva = Callbacks::pairs(fields);
  nghttp2_data_provider provider{};
  provider.read_callback = &Callbacks::read_body;
  const bool empty = body.empty();
  bodies_[stream] = std::move(body);
  nghttp2_submit_response(session_, stream, nva.data(), nva.size(), empty ? nullptr : &provider);
  flush();
}

bool H2Peer::flush() {
  while (nghttp2_session_want_write(session_) != 0) {
    const std::uint8_t* data = nullptr;
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size <= 0) return size == 0;
    if (!connection_.write({reinterpret_cast<const char*>(data), static_cast<std::size_t>(size)}))
      return false;
  }
  return true;
}

bool H2Peer::turn() {
  // Also a connection that lives on with nothing but PINGs in it is waited on for so long only.
  if (std::chrono::steady_clock::now() > give_up_ || !flush()) return false;
  const std::string got = connection_.read_some();
  if (got == "<end>" || got == "<reset>" || got == "<error>" || got == "<silent>" || got == "<truncated>")
    return false;
  return nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(got.data()), got.size()) >=
             0 &&
         flush();
}

const H2Message& H2Peer::wait(std::int32_t stream) {
  give_up_ = std::chrono::steady_clock::now() + patience;
  while (!messages_[stream].ended && !messages_[stream].reset && turn()) {
  }
  return messages_[stream];
}

std::int32_t H2Peer::wait_request() {
  give_up_ = std::chrono::steady_clock::now() + patience;
  while (requests_.empty()) {
    if (!turn()) return -1;
  }
  const std::int32_t stream = requests_.front();
  requests_.erase(requests_.begin());
  return stream;
}

}  // namespace heddle::test
