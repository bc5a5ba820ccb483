// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "control/source/kubernetes/h2_connection.h"

namespace heddle::source::kubernetes {

// The header of a request as HTTP/2 sends it.
std::vector<std::pair<std::string, std::string>> h2_fields(const Outgoing& asked);

// One question of a connection: what was heard of its answer. `wake` is cancelled when it is over.
struct H2Connection::Stream {
  Stream(boost::asio::io_context& context, const Sink* sink, std::string_view given_body)
      : builder(sink), body(given_body), wake(context) {}

  bool over() const { return done || error || closed; }
  void on_field(std::string_view name, std::string_view value);
  void on_head();
  void on_data(std::string_view bytes);
  void on_end();
  void on_close(const std::string& peer, std::uint32_t code);
  void fail(const Error& why);
  // The next bytes of the request's body; sets nghttp2's flag at its end.
  std::size_t read_body(std::uint8_t* to, std::size_t size, std::uint32_t& flags);

  std::int32_t id = 0;
  AnswerBuilder builder;
  std::string_view body;  // what was not sent yet
  std::optional<Error> error;
  bool heard = false;
  bool begun = false;      // the header is complete
  bool done = false;       // the whole answer came
  bool closed = false;     // the connection knows it no longer
  bool untouched = false;  // the server has not looked at it
  std::chrono::steady_clock::time_point last_heard = std::chrono::steady_clock::now();
  boost::asio::steady_timer wake;
};

}  // namespace heddle::source::kubernetes
