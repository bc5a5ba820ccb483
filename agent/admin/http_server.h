// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/loop.h"
#include "base/ip.h"
#include "base/result.h"

namespace heddle::agent {

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // without the query
  std::string query;   // after '?'
  std::string body;    // at most 64 KiB
};

struct HttpAnswer {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  // Set: the body goes on; `follow` is given a function that sends another piece (false: the reader is gone
  // or too slow) and the connection ends when that function is dropped.
  std::function<void(std::function<bool(std::string)> more)> follow;
};

// A small HTTP/1.1 server for operators' tools and scrapes: bounded connections, header and body sizes and
// times. Main thread.
class HttpServer {
 public:
  using Handler = std::function<HttpAnswer(const HttpRequest&)>;

  HttpServer(Loop& loop, Handler handler);
  ~HttpServer();
  // A UNIX stream socket, reachable for its owner only. A stale file is replaced.
  Result<> listen_unix(const std::string& path);
  Result<> listen_tcp(const SocketAddress& address);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace heddle::agent
