// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>

#include <memory>
#include <string>

#include "control/source/kubernetes/connections.h"
#include "control/source/kubernetes/h1_connection.h"

namespace heddle::source::kubernetes {

// Asks one API server one question at a time: over the connection that all clients of `connections` share,
// or, where the server speaks HTTP/1.1 only, over one of its own that is kept while both sides like it.
// Tokens are read with every request, so that replaced files are taken up; a program that gives credentials
// is waited for. Redirections are not followed. Belongs to its connections' thread.
class Client {
 public:
  using Sink = kubernetes::Sink;

  explicit Client(std::shared_ptr<Connections> connections) : connections_(std::move(connections)) {}
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Any status is an Answer. What the server says it has not looked at is sent again, and so is, once, a GET
  // that an idle connection lost before a byte of its answer; a change is not, as it may have been made.
  // Errc::exhausted: a body beyond `body_limit`; Errc::protocol: not HTTP; anything else: the server cannot
  // be reached, is not who it should be, or broke off.
  boost::asio::awaitable<Result<Answer>> call(Request request);
  boost::asio::awaitable<Result<Answer>> get(std::string target);
  // GET of a watch: the whole body goes to `sink`, whose error is returned as it is.
  boost::asio::awaitable<Result<Answer>> watch(std::string target, const Sink& sink);

  // Ends the connection that is its own, if there is one: before a pause in which the server may end it too.
  void disconnect() { own_.reset(); }

  static constexpr std::size_t body_limit = answer_body_limit;

 private:
  struct Asked {
    Exchanged got;
    bool fresh = false;  // over a connection made for it
  };

  boost::asio::awaitable<Result<Answer>> ask(Request asked, const Sink* sink);
  boost::asio::awaitable<Asked> ask_once(const Request& asked, const Sink* sink);
  boost::asio::awaitable<Asked> ask_over(Connections::Opened opened, const Outgoing& asked, const Sink* sink);
  boost::asio::awaitable<Asked> ask_own(const Outgoing& asked, const Sink* sink, bool fresh);
  boost::asio::awaitable<Result<std::shared_ptr<const ExecCredential>>> credential(
      std::shared_ptr<const Access> access);

  const std::shared_ptr<Connections> connections_;
  std::unique_ptr<H1Connection> own_;  // null: none
};

}  // namespace heddle::source::kubernetes
