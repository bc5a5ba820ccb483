// SPDX-License-Identifier: Apache-2.0
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/bench/traffic/acceptor.h"
#include "tests/bench/traffic/servers.h"

namespace heddle::bench {
namespace {

constexpr std::size_t content = 128;
std::array<char, 262144> shared_buffer;  // one thread, nothing is kept in it between two calls

// One accepted connection: writes what it owes and owns itself.
class ServerConnection : public Handler {
 public:
  ServerConnection(Poller& poller, Fd fd) : poller_(poller), fd_(std::move(fd)) {}

  void ready(std::uint32_t events) final {
    if ((events & EPOLLOUT) != 0 && !flush()) return end();
    if (waits_to_write_) return;  // one that does not read gets nothing more to read
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && !receive()) end();
  }
  void start() { poller_.add(fd_.get(), EPOLLIN, *this); }

 protected:
  // False: the connection is over.
  virtual bool receive() = 0;
  // Called when everything owed was written; false: the connection is over.
  virtual bool written() { return true; }

  // -1: nothing now; 0: the end or an error.
  ssize_t read_into(char* to, std::size_t size) {
    const ssize_t got = ::recv(fd_.get(), to, size, 0);
    if (got < 0) return errno == EAGAIN ? -1 : 0;
    return got;
  }
  bool send(std::string_view bytes) {
    owed_.append(bytes);
    return flush();
  }
  bool flush() {
    while (!owed_.empty()) {
      const ssize_t sent = ::send(fd_.get(), owed_.data(), owed_.size(), MSG_NOSIGNAL);
      if (sent < 0) return errno == EAGAIN && wait_to_write(true);
      owed_.erase(0, static_cast<std::size_t>(sent));
    }
    return wait_to_write(false) && written();
  }
  bool wait_to_write(bool wait) {
    if (wait != waits_to_write_) {
      waits_to_write_ = wait;
      poller_.change(fd_.get(), wait ? EPOLLOUT : EPOLLIN, *this);
    }
    return true;
  }
  int fd() const { return fd_.get(); }

 private:
  void end() {
    fd_.reset();
    poller_.retire(std::unique_ptr<Handler>(this));
  }

  Poller& poller_;
  Fd fd_;
  std::string owed_;
  bool waits_to_write_ = false;
};

class Http1Connection final : public ServerConnection {
 public:
  using ServerConnection::ServerConnection;

 private:
  bool receive() override {
    const ssize_t got = read_into(shared_buffer.data(), shared_buffer.size());
    if (got <= 0) return got < 0;
    // The usual case, a read with just one request, copies nothing.
    std::string_view input(shared_buffer.data(), static_cast<std::size_t>(got));
    if (!partial_.empty()) input = partial_.append(input);
    std::string answers;
    bool close = false;
    for (auto end = input.find("\r\n\r\n"); end != input.npos && !close; end = input.find("\r\n\r\n")) {
      close = input.substr(0, end).find("onnection: close") != input.npos;
      answers += close ? last_answer_ : answer_;
      input.remove_prefix(end + 4);
    }
    partial_ = std::string(input);
    return answers.empty() || (send(answers) && !close);
  }

  static std::string make_answer(const char* more) {
    return std::string("HTTP/1.1 200 OK\r\nserver: traffic\r\ncontent-type: application/octet-stream\r\n") +
           more + "content-length: " + std::to_string(content) + "\r\n\r\n" + std::string(content, 'x');
  }
  static inline const std::string answer_ = make_answer("");
  static inline const std::string last_answer_ = make_answer("connection: close\r\n");
  std::string partial_;
};

class BytesConnection final : public ServerConnection {
 public:
  using ServerConnection::ServerConnection;

 private:
  bool receive() override {
    const ssize_t got = read_into(shared_buffer.data(), shared_buffer.size());
    if (got <= 0) return got < 0;
    const std::string_view input(shared_buffer.data(), static_cast<std::size_t>(got));
    if (first_) {
      first_ = false;
      gives_ = input[0] == 'D';
    }
    if (!gives_) return send(input);
    order_.append(input);
    if (order_.size() < 1 + sizeof left_) return true;
    std::memcpy(&left_, order_.data() + 1, sizeof left_);
    std::fill(shared_buffer.begin(), shared_buffer.end(), 'z');
    return give();
  }
  bool written() override { return !gives_ || give(); }
  bool give() {
    while (left_ > 0) {
      const auto size = std::min<std::uint64_t>(left_, shared_buffer.size());
      const ssize_t sent = ::send(fd(), shared_buffer.data(), size, MSG_NOSIGNAL);
      if (sent < 0) return errno == EAGAIN && wait_to_write(true);
      left_ -= static_cast<std::uint64_t>(sent);
    }
    ::shutdown(fd(), SHUT_WR);
    gives_ = false;
    return wait_to_write(false);
  }

  bool first_ = true;
  bool gives_ = false;
  std::string order_;
  std::uint64_t left_ = 0;
};

template <typename Connection>
void serve(Poller& poller, const SocketAddress& at) {
  // For as long as the program runs.
  static Acceptor acceptor(poller, at, [&poller](Fd fd) {
    (new Connection(poller, std::move(fd)))->start();  // owns itself: see end()
  });
}

}  // namespace

void serve_http1(Poller& poller, const SocketAddress& at) {
  serve<Http1Connection>(poller, at);
}

void serve_bytes(Poller& poller, const SocketAddress& at) {
  serve<BytesConnection>(poller, at);
}

}  // namespace heddle::bench
