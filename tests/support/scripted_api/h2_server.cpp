// SPDX-License-Identifier: Apache-2.0
#include "tests/support/scripted_api/h2_server.h"

#include <fcntl.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace heddle::test {
namespace {

nghttp2_nv field(const std::string& name, const std::string& value) {
  return {reinterpret_cast<std::uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<std::uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NONE};
}

}  // namespace

struct H2Server::Callbacks {
  static H2Server& server(void* user_data) { return *static_cast<H2Server*>(user_data); }
  static Stream* stream(H2Server& self, std::int32_t id) {
    const auto found = self.streams_.find(id);
    return found == self.streams_.end() ? nullptr : found->second.get();
  }

  static int on_begin(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    H2Server& self = server(user_data);
    self.streams_.emplace(frame->hd.stream_id, std::make_shared<Stream>(self, frame->hd.stream_id));
    return 0;
  }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size, std::uint8_t,
                       void* user_data) {
    Stream* const found = stream(server(user_data), frame->hd.stream_id);
    if (found == nullptr) return 0;
    const std::string key(reinterpret_cast<const char*>(name), name_size);
    const std::string text(reinterpret_cast<const char*>(value), value_size);
    Request& request = found->request_;
    if (key == ":method") request.method = text;
    if (key == ":path") request.target = text;
    if (!key.starts_with(":")) request.header += "\r\n" + key + ": " + text;
    return 0;
  }
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                     std::size_t size, void* user_data) {
    if (Stream* const found = stream(server(user_data), id)) {
      found->request_.body.append(reinterpret_cast<const char*>(data), size);
    }
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user_data) {
    H2Server& self = server(user_data);
    if (frame->hd.type == NGHTTP2_PING) ++self.pings_;
    const bool carries = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    if (!carries || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    const auto found = self.streams_.find(frame->hd.stream_id);
    if (found == self.streams_.end()) return 0;
    found->second->request_.header += "\r\n";
    self.threads_.emplace_back([&self, one = found->second] { self.run_request(one); });
    return 0;
  }
  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t, void* user_data) {
    H2Server& self = server(user_data);
    if (Stream* const found = stream(self, id)) found->gone_ = true;
    self.streams_.erase(id);
    self.any_gone_ = true;
    return 0;
  }
  static ssize_t read_body(nghttp2_session*, std::int32_t id, std::uint8_t* to, std::size_t size,
                           std::uint32_t* flags, nghttp2_data_source*, void* user_data) {
    Stream* const found = stream(server(user_data), id);
    if (found == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const std::size_t fits = std::min(size, found->output_.size() - found->sent_);
    if (fits == 0 && !found->ended_) return NGHTTP2_ERR_DEFERRED;
    std::copy_n(found->output_.data() + found->sent_, fits, to);
    found->sent_ += fits;
    if (found->sent_ == found->output_.size()) {
      found->output_.clear();
      found->sent_ = 0;
      if (found->ended_) *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return static_cast<ssize_t>(fits);
  }

  static nghttp2_session* session(H2Server* self) {
    nghttp2_session_callbacks* table = nullptr;
    if (nghttp2_session_callbacks_new(&table) != 0) std::abort();
    nghttp2_session_callbacks_set_on_begin_headers_callback(table, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(table, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(table, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(table, on_close);
    nghttp2_session* out = nullptr;
    if (nghttp2_session_server_new(&out, table, self) != 0) std::abort();
    nghttp2_session_callbacks_del(table);
    return out;
  }
};

bool H2Server::Stream::begin(int status, const std::map<std::string, std::string>& fields) {
  const std::lock_guard lock(owner_.mutex_);
  if (gone_) return false;
  const std::string code = std::to_string(status);
  const std::string name = ":status";
  std::vector<nghttp2_nv> list{field(name, code)};
  for (const auto& [key, value] : fields) list.push_back(field(key, value));
  const nghttp2_data_provider body{{}, Callbacks::read_body};
  nghttp2_submit_response(owner_.session_, id_, list.data(), list.size(), &body);
  owner_.wake();
  return true;
}

bool H2Server::Stream::send(const std::string& bytes) {
  const std::lock_guard lock(owner_.mutex_);
  if (gone_) return false;
  output_ += bytes;
  nghttp2_session_resume_data(owner_.session_, id_);
  owner_.wake();
  return true;
}

bool H2Server::Stream::end() {
  const std::lock_guard lock(owner_.mutex_);
  if (gone_) return false;
  ended_ = true;
  nghttp2_session_resume_data(owner_.session_, id_);
  owner_.wake();
  return true;
}

void H2Server::Stream::reset(std::uint32_t code) {
  const std::lock_guard lock(owner_.mutex_);
  if (gone_) return;
  nghttp2_submit_rst_stream(owner_.session_, NGHTTP2_FLAG_NONE, id_, code);
  owner_.wake();
}

H2Server::H2Server(SSL* tls, int fd, Options options)
    : tls_(tls), fd_(fd), options_(std::move(options)), frozen_(options_.frozen) {
  event_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  session_ = Callbacks::session(this);
  const nghttp2_settings_entry settings{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options_.most_streams};
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &settings, 1);
  ::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) | O_NONBLOCK);
}

H2Server::~H2Server() {
  nghttp2_session_del(session_);
  ::close(event_);
}

void H2Server::wake() const {
  const std::uint64_t one = 1;
  if (::write(event_, &one, sizeof one) < 0) return;  // it is awake
}

void H2Server::run_request(const std::shared_ptr<Stream>& stream) {
  options_.answer(stream->request_, *stream);
}

void H2Server::serve() {
  bool alive = true;
  while (alive) {
    bool frozen = false;
    {
      const std::lock_guard lock(mutex_);
      frozen = frozen_;
    }
    if (!frozen) alive = write() && read();
    bool tell = false;
    {
      const std::lock_guard lock(mutex_);
      tell = std::exchange(any_gone_, false);
      const bool over = nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
      alive = alive && !over;
    }
    if (tell) options_.on_gone();
    if (!alive) break;
    if (!frozen && SSL_pending(tls_) > 0) continue;
    pollfd waits[2] = {{fd_, static_cast<short>(frozen ? 0 : POLLIN | (output_.empty() ? 0 : POLLOUT)), 0},
                       {event_, POLLIN, 0}};
    ::poll(waits, 2, -1);
    std::uint64_t count = 0;
    if (waits[1].revents != 0 && ::read(event_, &count, sizeof count) < 0) continue;
    if (frozen && (waits[0].revents & (POLLHUP | POLLERR)) != 0) alive = false;
  }
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, stream] : streams_) stream->gone_ = true;
    threads.swap(threads_);
  }
  options_.on_gone();
  for (std::thread& thread : threads) thread.join();
}

bool H2Server::read() {
  char piece[16 * 1024];
  while (true) {
    ERR_clear_error();
    const int got = SSL_read(tls_, piece, sizeof piece);
    if (got <= 0) return SSL_get_error(tls_, got) == SSL_ERROR_WANT_READ;
    const std::lock_guard lock(mutex_);
    const auto used = nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(piece),
                                               static_cast<std::size_t>(got));
    if (used < 0) return false;
    wake();  // to write what that made
  }
}

bool H2Server::write() {
  while (true) {
    if (output_.empty()) {
      const std::lock_guard lock(mutex_);
      const std::uint8_t* data = nullptr;
      const auto size = nghttp2_session_mem_send(session_, &data);
      if (size <= 0) return size == 0;
      output_.assign(reinterpret_cast<const char*>(data), static_cast<std::size_t>(size));
    }
    ERR_clear_error();
    const int sent = SSL_write(tls_, output_.data(), static_cast<int>(output_.size()));
    if (sent <= 0) return SSL_get_error(tls_, sent) == SSL_ERROR_WANT_WRITE;
    output_.erase(0, static_cast<std::size_t>(sent));
  }
}

void H2Server::say_farewell() {
  const std::lock_guard lock(mutex_);
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                        NGHTTP2_NO_ERROR, nullptr, 0);
  wake();
}

void H2Server::freeze(bool froze) {
  const std::lock_guard lock(mutex_);
  frozen_ = froze;
  wake();
}

std::int32_t H2Server::connection_window() {
  const std::lock_guard lock(mutex_);
  return nghttp2_session_get_remote_window_size(session_);
}

std::uint32_t H2Server::stream_window() {
  const std::lock_guard lock(mutex_);
  return nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
}

}  // namespace heddle::test
