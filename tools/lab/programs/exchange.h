// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/socket.h>

#include <string>

#include "base/fd.h"
#include "base/result.h"

namespace heddle::tools {

// A blocking connect with a limit that also becomes the limit of every later read and write.
Result<Fd> connect_to(const sockaddr_storage& address, socklen_t length, double timeout_s);

struct LoadResponse {
  int status = 0;
  bool close = false;  // the connection is not to be used again
  std::size_t body_bytes = 0;
  std::string backend;  // header X-Backend, else the body's first line (64 bytes at most)
};

// One client connection, one request at a time. Not thread-safe.
class HttpConnection {
 public:
  explicit HttpConnection(Fd fd) : fd_(std::move(fd)) {}
  // A complete response or why there is none.
  Result<LoadResponse> get(const std::string& host, const std::string& path, bool close);
  // Of the last request: not one byte of a response came.
  bool nothing_received() const { return nothing_received_; }
  // Waits for one byte that the server sends unasked. Empty, or what went wrong.
  std::string wait_for_byte();

 private:
  Result<> fill();
  Result<std::string> head();
  Result<> body(const std::string& head, LoadResponse& response, std::string& start);

  Fd fd_;
  std::string buffer_;
  bool nothing_received_ = true;
};

}  // namespace heddle::tools
