// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>

#include <chrono>
#include <memory>
#include <string>

#include "base/result.h"
#include "control/source/kubernetes/access.h"
#include "control/source/kubernetes/answer.h"

namespace heddle::source::kubernetes {

struct Timeouts {
  std::chrono::milliseconds connect{10'000};  // TCP, then the same again for TLS
  std::chrono::milliseconds answer{30'000};   // without a byte of an answer
  // Without a byte of a watch. Bookmarks come about once a minute.
  std::chrono::milliseconds silence{150'000};
  // A connection of HTTP/2 that was silent for so long is asked whether it lives, and has so long to say so:
  // a server that vanished is noticed long before the silence of a watch would tell.
  std::chrono::milliseconds ping_after{30'000};
  std::chrono::milliseconds ping_answer{15'000};
};

// A question as it goes over the wire.
struct Outgoing {
  Request request;        // its target with the prefix of the server's paths
  std::string authority;  // host and port
  std::string token;      // empty: none is sent
};

// How a question went.
struct Exchanged {
  Result<Answer> answer;
  bool heard = false;      // a byte of the answer came
  bool untouched = false;  // the server says that it has not looked at it: any question may be repeated
};

// A connection to an API server: its certificate was verified, and what to speak agreed on.
struct Link {
  Link(boost::asio::io_context& context, boost::asio::ssl::context tls_context)
      : tls(std::move(tls_context)), stream(context, tls) {}

  boost::beast::tcp_stream& socket() { return boost::beast::get_lowest_layer(stream); }
  // The codes that matter are told apart; the rest says what the system says.
  Error failed(const boost::system::error_code& code, const std::string& doing) const;

  std::string peer;  // "API server HOST:PORT", for people
  bool h2 = false;   // else HTTP/1.1
  boost::asio::ssl::context tls;
  boost::beast::ssl_stream<boost::beast::tcp_stream> stream;
};

// With the client certificate of `given`, if it has one and `access` none. Offers HTTP/2 and HTTP/1.1.
boost::asio::awaitable<Result<std::unique_ptr<Link>>> connect(boost::asio::io_context& context,
                                                              std::shared_ptr<const Access> access,
                                                              std::shared_ptr<const ExecCredential> given,
                                                              std::chrono::milliseconds time_limit);

}  // namespace heddle::source::kubernetes
