// SPDX-License-Identifier: Apache-2.0
#include "tools/lab/programs/exchange.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <cstdlib>

#include "tools/http/client.h"

namespace heddle::tools {
namespace {

// A header's value, names compared without case; empty when absent. `head` is lower-case from its second line
// on.
std::string header(const std::string& head, const std::string& lower, const std::string& name) {
  const auto at = lower.find("\r\n" + name + ":");
  if (at == std::string::npos) return {};
  auto begin = at + name.size() + 3;
  while (begin < head.size() && head[begin] == ' ') ++begin;
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

Result<Fd> connect_to(const sockaddr_storage& address, socklen_t length, double timeout_s) {
  Fd fd(::socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return make_errno(errno, "socket");
  timeval limit{static_cast<time_t>(timeout_s),
                static_cast<suseconds_t>((timeout_s - std::floor(timeout_s)) * 1e6)};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0)
    return make_errno(errno, "connect");
  return fd;
}

Result<> HttpConnection::fill() {
  char chunk[65536];
  ssize_t got;
  do {
    got = ::recv(fd_.get(), chunk, sizeof chunk, 0);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return make_errno(errno, "receive");
  if (got == 0) return make_error(Errc::closed, "receive");
  nothing_received_ = false;
  buffer_.append(chunk, static_cast<std::size_t>(got));
  return {};
}

std::string HttpConnection::wait_for_byte() {
  auto got = fill();
  return got ? std::string() : got.error().message();
}

Result<std::string> HttpConnection::head() {
  while (true) {
    if (const auto end = buffer_.find("\r\n\r\n"); end != std::string::npos) {
      auto out = buffer_.substr(0, end + 2);
      buffer_.erase(0, end + 4);
      return out;
    }
    if (buffer_.size() > 65536) return make_error(Errc::protocol, "response head too long");
    if (auto more = fill(); !more) return more.error();
  }
}

Result<> HttpConnection::body(const std::string& head, LoadResponse& response, std::string& start) {
  const auto lower = lower_case(head);
  const auto keep_start = [&](std::string_view bytes) {
    response.body_bytes += bytes.size();
    if (start.size() < 64) start += bytes.substr(0, 64 - start.size());
  };
  if (header(head, lower, "transfer-encoding").find("chunked") != std::string::npos) {
    ChunkedBody chunks;
    std::string decoded;
    while (true) {
      if (!chunks.feed(buffer_, decoded)) return make_error(Errc::protocol, "malformed chunked body");
      buffer_.clear();
      keep_start(decoded);
      decoded.clear();
      if (chunks.complete()) return {};
      if (auto more = fill(); !more) return more;
    }
  }
  const auto length = header(head, lower, "content-length");
  if (length.empty()) {
    // Until the end of the connection.
    response.close = true;
    while (true) {
      keep_start(buffer_);
      buffer_.clear();
      if (auto more = fill(); !more) {
        if (more.error().code == Errc::closed) return {};
        return more;
      }
    }
  }
  auto left = std::strtoull(length.c_str(), nullptr, 10);
  while (true) {
    const auto take = std::min<std::uint64_t>(left, buffer_.size());
    keep_start(std::string_view(buffer_).substr(0, take));
    buffer_.erase(0, take);
    left -= take;
    if (left == 0) return {};
    if (auto more = fill(); !more) return more;
  }
}

Result<LoadResponse> HttpConnection::get(const std::string& host, const std::string& path, bool close) {
  nothing_received_ = true;
  const auto request = "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: heddle-lab-load\r\n" +
                       (close ? "Connection: close\r\n" : "") + "\r\n";
  std::size_t sent = 0;
  while (sent < request.size()) {
    const ssize_t put = ::send(fd_.get(), request.data() + sent, request.size() - sent, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return make_errno(errno, "send");
    sent += static_cast<std::size_t>(put);
  }
  auto lines = head();
  if (!lines) return lines.error();
  if (!lines->starts_with("HTTP/1.") || lines->size() < 12)
    return make_error(Errc::protocol, "no HTTP response");
  LoadResponse response;
  response.status = std::atoi(lines->c_str() + 9);
  const auto lower = lower_case(*lines);
  response.close = header(*lines, lower, "connection").find("close") != std::string::npos ||
                   lines->starts_with("HTTP/1.0");
  std::string start;
  if (auto complete = body(*lines, response, start); !complete) return complete.error();
  response.backend = header(*lines, lower, "x-backend");
  if (response.backend.empty()) response.backend = start.substr(0, start.find('\n'));
  return response;
}

}  // namespace heddle::tools
