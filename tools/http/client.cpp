// SPDX-License-Identifier: Apache-2.0
#include "tools/http/client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <optional>

#include "base/fd.h"

namespace heddle::tools {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t max_body = 64 * 1024 * 1024;

// What went wrong, and what to do: whose socket it is shows in its path.
std::string cannot_connect(const std::string& path, int error) {
  if (error == EACCES || error == EPERM) return "you may not open " + path + ": run this as root (sudo)";
  const auto folder = path.substr(0, path.rfind('/'));
  const auto name = folder.substr(folder.rfind('/') + 1);
  return "nobody answers at " + path + " (" + std::strerror(error) + "): start heddle-" + name +
         " on this node, say where it runs with --run-dir, or bring a lab up with `heddle lab up FOLDER`";
}

Result<Fd> connect_stream(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return make_error(Errc::invalid_argument,
                      path + " is too long for a UNIX socket; choose a shorter --run-dir");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return make_errno(errno, "cannot make a socket");
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return make_error(Errc::unavailable, cannot_connect(path, errno));
  }
  return fd;
}

Result<> send_request(int fd, const std::string& target) {
  const auto request = "GET " + target + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  const ssize_t sent = ::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
  if (sent != static_cast<ssize_t>(request.size())) return make_errno(errno, "cannot send a request");
  return {};
}

// What is wanted of a reply: its head as soon as it is there, and decoded body bytes as they come.
class ReplyReader {
 public:
  HttpReply reply;
  bool complete = false;

  Result<> feed(std::string_view bytes) {
    if (!have_head_) {
      head_ += bytes;
      const auto end = head_.find("\r\n\r\n");
      if (end == std::string::npos) {
        if (head_.size() > 65536) return make_error(Errc::protocol, "a reply whose head has no end");
        return {};
      }
      const auto rest = head_.substr(end + 4);
      head_.resize(end + 2);
      if (auto parsed = parse_head(); !parsed) return parsed;
      return body(rest);
    }
    return body(bytes);
  }

 private:
  Result<> parse_head() {
    have_head_ = true;
    const auto line_end = head_.find("\r\n");
    const auto line = head_.substr(0, line_end);
    if (!line.starts_with("HTTP/1.") || line.size() < 12 ||
        std::from_chars(line.data() + 9, line.data() + 12, reply.status).ec != std::errc{}) {
      return make_error(Errc::protocol, "no HTTP/1 reply: " + line.substr(0, 60));
    }
    reply.headers = head_.substr(line_end + 2);
    std::string lower = head_;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    chunked_ = lower.find("\r\ntransfer-encoding: chunked") != std::string::npos;
    if (const auto at = lower.find("\r\ncontent-length:"); at != std::string::npos) {
      length_ = std::strtoull(lower.c_str() + at + 17, nullptr, 10);
      complete = length_ == 0;
    }
    return {};
  }

  Result<> body(std::string_view bytes) {
    if (chunked_) {
      if (!chunks_.feed(bytes, reply.body)) return make_error(Errc::protocol, "a malformed chunked reply");
      complete = chunks_.complete();
    } else {
      reply.body += bytes;
      if (length_ && reply.body.size() >= *length_) complete = true;
    }
    if (reply.body.size() > max_body) return make_error(Errc::exhausted, "a reply of more than 64 MiB");
    return {};
  }

  std::string head_;
  bool have_head_ = false;
  bool chunked_ = false;
  std::optional<std::size_t> length_;
  ChunkedBody chunks_;
};

Result<HttpReply> exchange(const Fd& fd, const std::string& target, std::chrono::milliseconds timeout) {
  if (auto sent = send_request(fd.get(), target); !sent) return sent.error();
  const auto deadline = Clock::now() + timeout;
  ReplyReader reader;
  char chunk[65536];
  while (!reader.complete) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wait{fd.get(), POLLIN, 0};
    if (left <= 0 || ::poll(&wait, 1, static_cast<int>(left)) == 0) {
      return make_error(Errc::timeout, "no complete reply to GET " + target + " in " +
                                           std::to_string(timeout.count()) + " ms");
    }
    const ssize_t got = ::recv(fd.get(), chunk, sizeof chunk, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return make_errno(errno, "cannot read the reply to GET " + target);
    if (got == 0) break;
    if (auto fed = reader.feed({chunk, static_cast<std::size_t>(got)}); !fed) return fed.error();
  }
  if (reader.reply.status == 0) return make_error(Errc::protocol, "an empty reply to GET " + target);
  return std::move(reader.reply);
}

}  // namespace

bool ChunkedBody::feed(std::string_view bytes, std::string& out) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const char c = bytes[i];
    switch (state_) {
      case State::size: {
        const char* digits = "0123456789abcdef";
        const char* found = c ? std::strchr(digits, std::tolower(static_cast<unsigned char>(c))) : nullptr;
        if (found) {
          if (++digits_ > 8) return false;
          left_ = left_ * 16 + static_cast<std::size_t>(found - digits);
        } else if (digits_ > 0 && (c == ';' || c == ' ')) {
          state_ = State::extension;
        } else if (digits_ > 0 && c == '\r') {
          state_ = State::size_lf;
        } else {
          return false;
        }
        break;
      }
      case State::extension:
        if (c == '\r') state_ = State::size_lf;
        break;
      case State::size_lf:
        if (c != '\n') return false;
        digits_ = 0;
        state_ = left_ == 0 ? State::trailer : State::data;
        break;
      case State::data: {
        const auto take = std::min(left_, bytes.size() - i);
        out.append(bytes.substr(i, take));
        left_ -= take;
        i += take - 1;
        if (left_ == 0) state_ = State::data_cr;
        break;
      }
      case State::data_cr:
        if (c != '\r') return false;
        state_ = State::data_lf;
        break;
      case State::data_lf:
        if (c != '\n') return false;
        state_ = State::size;
        break;
      case State::trailer:
        if (c == '\n') {
          state_ = State::end;
        } else if (c != '\r') {
          state_ = State::trailer_line;
        }
        break;
      case State::trailer_line:
        if (c == '\n') state_ = State::trailer;
        break;
      case State::end:
        return true;
    }
  }
  return true;
}

Result<HttpReply> http_get(const std::string& unix_path, const std::string& target,
                           std::chrono::milliseconds timeout) {
  auto fd = connect_stream(unix_path);
  if (!fd) return fd.error();
  return exchange(*fd, target, timeout);
}

Result<HttpReply> http_get(const SocketAddress& address, const std::string& target,
                           std::chrono::milliseconds timeout) {
  sockaddr_storage storage{};
  const auto length = address.to_sockaddr(storage);
  Fd fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return make_errno(errno, "cannot make a socket");
  timeval limit{static_cast<time_t>(timeout.count() / 1000),
                static_cast<suseconds_t>(timeout.count() % 1000 * 1000)};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&storage), length) != 0) {
    return make_errno(errno, "cannot connect to " + address.to_string());
  }
  return exchange(fd, target, timeout);
}

Result<> http_stream(const std::string& unix_path, const std::string& target, int stop_fd,
                     const std::function<bool(std::string_view)>& line) {
  auto fd = connect_stream(unix_path);
  if (!fd) return fd.error();
  if (auto sent = send_request(fd->get(), target); !sent) return sent;
  ReplyReader reader;
  char chunk[65536];
  while (!reader.complete) {
    pollfd waits[2] = {{fd->get(), POLLIN, 0}, {stop_fd, POLLIN, 0}};
    if (::poll(waits, 2, -1) < 0 && errno != EINTR) return make_errno(errno, "cannot wait");
    if (waits[1].revents != 0) return {};
    if (waits[0].revents == 0) continue;
    const ssize_t got = ::recv(fd->get(), chunk, sizeof chunk, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return make_errno(errno, "cannot read from " + unix_path);
    if (got == 0) break;
    if (auto fed = reader.feed({chunk, static_cast<std::size_t>(got)}); !fed) return fed;
    if (reader.reply.status != 0 && reader.reply.status != 200) continue;
    auto& body = reader.reply.body;
    std::size_t start = 0;
    for (auto end = body.find('\n'); end != std::string::npos; end = body.find('\n', start)) {
      if (!line(std::string_view(body).substr(start, end - start))) return {};
      start = end + 1;
    }
    body.erase(0, start);
  }
  if (reader.reply.status != 200) {
    return make_error(Errc::unavailable, "GET " + target + " answered " +
                                             std::to_string(reader.reply.status) + " " +
                                             reader.reply.body.substr(0, 200));
  }
  return {};
}

}  // namespace heddle::tools
