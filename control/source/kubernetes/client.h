// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/credentials.h"

namespace heddle::source::kubernetes {

struct Timeouts {
  std::chrono::milliseconds connect{10'000};  // TCP, then the same again for TLS
  std::chrono::milliseconds answer{30'000};   // without a byte of an answer
  // Without a byte of a watch. Bookmarks come about once a minute.
  std::chrono::milliseconds silence{150'000};
};

struct Request {
  std::string method = "GET";
  std::string target;        // path and query, escaped
  std::string body;          // empty: none
  std::string content_type;  // of the body: "application/json", "application/merge-patch+json", ...
};

struct Answer {
  int status = 0;
  std::optional<std::chrono::seconds> retry_after;
  std::string body;  // empty if it was given to a sink
};

// HTTP/1.1 over TLS with one API server: one request at a time, over a connection that is kept while both
// sides like it. The kubeconfig and certificates are read when connecting and tokens with every request, so
// that replaced files are taken up; a program that gives credentials is waited for. Redirections are not
// followed. Belongs to its io_context's one thread.
class Client {
 public:
  // Takes the body of an answer with status 200 as it arrives: first an empty piece with the header. An error
  // ends the conversation.
  using Sink = std::function<Result<>(std::string_view)>;

  Client(boost::asio::io_context& context, const Access& access, const Timeouts& timeouts);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Any status is an Answer. A GET that an idle connection lost before a byte of its answer is sent once
  // more, over a new one; a change is not, as it may have been made. Errc::exhausted: a body beyond
  // `body_limit`; Errc::protocol: not HTTP; anything else: the server cannot be reached, is not who it should
  // be, or broke off.
  boost::asio::awaitable<Result<Answer>> call(Request request);
  boost::asio::awaitable<Result<Answer>> get(std::string target);
  // GET of a watch: the whole body goes to `sink`, whose error is returned as it is.
  boost::asio::awaitable<Result<Answer>> watch(std::string target, const Sink& sink);

  // Ends the connection, if there is one: before a pause in which the server may end it too.
  void disconnect();

  static constexpr std::size_t body_limit = 64 * 1024 * 1024;

 private:
  struct Connection;

  Result<boost::asio::ssl::context> tls_context() const;
  boost::asio::awaitable<Result<>> connect();
  boost::asio::awaitable<Result<Answer>> ask_once(const Request& asked, const Sink* sink,
                                                  std::chrono::milliseconds silence);
  boost::asio::awaitable<Result<>> send(const Request& asked);
  boost::asio::awaitable<Result<Answer>> ask(Request asked, const Sink* sink,
                                             std::chrono::milliseconds silence);
  boost::asio::awaitable<Result<Answer>> receive(const Sink* sink, std::chrono::milliseconds silence);
  void read_again();
  boost::asio::awaitable<Result<>> obtain_credential();
  Result<std::string> token() const;
  const Access& access() const;
  Error failed(const boost::system::error_code& code, const std::string& doing) const;

  boost::asio::io_context& context_;
  const Access& access_;
  Timeouts timeouts_;
  std::optional<Access> newer_;                       // what the kubeconfig said last
  std::string complaint_;                             // about what it says now
  std::shared_ptr<const ExecCredential> credential_;  // a program's, for the question that is asked
  std::unique_ptr<Connection> connection_;            // null: none
};

}  // namespace heddle::source::kubernetes
