// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "base/ip.h"
#include "base/result.h"

namespace heddle::tools {

struct HttpReply {
  int status = 0;
  std::string headers;  // as received, CRLF-separated, without the status line
  std::string body;
};

// A GET over HTTP/1.1 of an admin socket (`unix_path`), blocking, bounded to 64 MiB. A process that is not
// there is Errc::unavailable and names the socket.
Result<HttpReply> http_get(const std::string& unix_path, const std::string& target,
                           std::chrono::milliseconds timeout = std::chrono::seconds(5));

// The same over TCP, in the calling thread's network namespace.
Result<HttpReply> http_get(const SocketAddress& address, const std::string& target,
                           std::chrono::milliseconds timeout = std::chrono::seconds(5));

// GET whose body is lines without end (JSON lines): `line` is called for each until it returns false, the
// peer closes, or `stop_fd` (-1: none) becomes readable.
Result<> http_stream(const std::string& unix_path, const std::string& target, int stop_fd,
                     const std::function<bool(std::string_view)>& line);

// Takes a body in the chunked coding (RFC 9112, 7.1) apart as bytes arrive; pure. Used for replies without a
// length.
class ChunkedBody {
 public:
  // Appends decoded bytes to `out`. False: malformed.
  bool feed(std::string_view bytes, std::string& out);
  bool complete() const { return state_ == State::end; }

 private:
  enum class State { size, extension, size_lf, data, data_cr, data_lf, trailer, trailer_line, end };
  State state_ = State::size;
  std::size_t left_ = 0;
  int digits_ = 0;
};

}  // namespace heddle::tools
