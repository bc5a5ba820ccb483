// SPDX-License-Identifier: Apache-2.0
#include <nghttp2/nghttp2.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/bench/traffic/acceptor.h"
#include "tests/bench/traffic/servers.h"

namespace heddle::bench {
namespace {

constexpr std::size_t plain_content = 128;
// A gRPC message of 95 bytes behind its head of five.
constexpr std::string_view grpc_head("\0\0\0\0\x5f", 5);
constexpr std::size_t grpc_content = 100;
constexpr std::size_t batch = 65536;

nghttp2_nv field(std::string_view name, std::string_view value) {
  nghttp2_nv nv{};
  nv.name = reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data()));
  nv.value = reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data()));
  nv.namelen = name.size();
  nv.valuelen = value.size();
  nv.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
  return nv;
}

// What a stream's user data says: it is a POST.
void* const post_mark = reinterpret_cast<void*>(std::uintptr_t{1});

ssize_t give_content(nghttp2_session* session, std::int32_t stream, std::uint8_t* to, std::size_t room,
                     std::uint32_t* flags, nghttp2_data_source* /*source*/, void* /*connection*/) {
  *flags |= NGHTTP2_DATA_FLAG_EOF;
  if (nghttp2_session_get_stream_user_data(session, stream) != post_mark) {
    std::memset(to, 'x', plain_content);
    return plain_content;
  }
  if (room < grpc_content) return NGHTTP2_ERR_CALLBACK_FAILURE;
  std::memcpy(to, grpc_head.data(), grpc_head.size());
  std::memset(to + grpc_head.size(), 'g', grpc_content - grpc_head.size());
  *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
  const nghttp2_nv trailer = field("grpc-status", "0");
  nghttp2_submit_trailer(session, stream, &trailer, 1);
  return grpc_content;
}

int on_header(nghttp2_session* session, const nghttp2_frame* frame, const std::uint8_t* name,
              std::size_t name_size, const std::uint8_t* value, std::size_t value_size,
              std::uint8_t /*flags*/, void* /*connection*/) {
  if (std::string_view(reinterpret_cast<const char*>(name), name_size) == ":method" &&
      std::string_view(reinterpret_cast<const char*>(value), value_size) == "POST")
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, post_mark);
  return 0;
}

int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* /*connection*/) {
  const bool request = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
  if (!request || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
  static const std::array plain{field(":status", "200"), field("content-type", "application/octet-stream"),
                                field("content-length", "128")};
  static const std::array grpc{field(":status", "200"), field("content-type", "application/grpc")};
  const bool post = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id) == post_mark;
  nghttp2_data_provider content{};
  content.read_callback = give_content;
  return nghttp2_submit_response(session, frame->hd.stream_id, post ? grpc.data() : plain.data(),
                                 post ? grpc.size() : plain.size(), &content);
}

class Http2Connection final : public Handler {
 public:
  Http2Connection(Poller& poller, Fd fd) : poller_(poller), fd_(std::move(fd)) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_option* option = nullptr;
    nghttp2_option_new(&option);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_session_server_new2(&session_, callbacks, this, option);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    const std::array settings{nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 256},
                              nghttp2_settings_entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, 1 << 24);
  }
  ~Http2Connection() override { nghttp2_session_del(session_); }
  Http2Connection(const Http2Connection&) = delete;
  Http2Connection& operator=(const Http2Connection&) = delete;

  void start() {
    poller_.add(fd_.get(), EPOLLIN, *this);
    if (!flush()) end();
  }
  void ready(std::uint32_t events) override {
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !receive()) return end();
    if (!flush()) end();
  }

 private:
  bool receive() {
    static std::array<std::uint8_t, batch> buffer;
    const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0) return errno == EAGAIN;
    return got > 0 && nghttp2_session_mem_recv(session_, buffer.data(), static_cast<std::size_t>(got)) >= 0;
  }
  // Everything that is due in as few writes as possible.
  bool flush() {
    for (;;) {
      while (!owed_.empty()) {
        const ssize_t sent = ::send(fd_.get(), owed_.data(), owed_.size(), MSG_NOSIGNAL);
        if (sent < 0) return errno == EAGAIN && wait_to_write(true);
        owed_.erase(0, static_cast<std::size_t>(sent));
      }
      const std::uint8_t* piece = nullptr;
      ssize_t size = 0;
      while (owed_.size() < batch && (size = nghttp2_session_mem_send(session_, &piece)) > 0)
        owed_.append(reinterpret_cast<const char*>(piece), static_cast<std::size_t>(size));
      if (owed_.empty()) break;
    }
    wait_to_write(false);
    return nghttp2_session_want_read(session_) != 0 || nghttp2_session_want_write(session_) != 0;
  }
  bool wait_to_write(bool wait) {
    if (wait != waits_to_write_) {
      waits_to_write_ = wait;
      poller_.change(fd_.get(), EPOLLIN | (wait ? EPOLLOUT : 0U), *this);
    }
    return true;
  }
  void end() {
    fd_.reset();
    poller_.retire(std::unique_ptr<Handler>(this));
  }

  Poller& poller_;
  Fd fd_;
  nghttp2_session* session_ = nullptr;
  std::string owed_;
  bool waits_to_write_ = false;
};

}  // namespace

void serve_http2(Poller& poller, const SocketAddress& at) {
  static Acceptor acceptor(poller, at, [&poller](Fd fd) {
    (new Http2Connection(poller, std::move(fd)))->start();  // owns itself: see end()
  });
}

}  // namespace heddle::bench
