// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/h1_connection.h"

#include <sys/socket.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

namespace heddle::source::kubernetes {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr auto awaited = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t header_limit = 16 * 1024;
constexpr std::size_t piece_size = 32 * 1024;

http::request<http::string_body> request_of(const Outgoing& asked) {
  http::request<http::string_body> request;
  request.version(11);
  request.method_string(asked.request.method);
  request.target(asked.request.target);
  request.set(http::field::host, asked.authority);
  request.set(http::field::user_agent, "heddle");
  request.set(http::field::accept, "application/json");
  request.set(http::field::accept_encoding, "gzip");
  if (!asked.request.body.empty()) {
    request.set(http::field::content_type, asked.request.content_type);
    request.body() = asked.request.body;
  }
  if (asked.request.method != "GET") request.prepare_payload();
  if (!asked.token.empty()) request.set(http::field::authorization, "Bearer " + asked.token);
  return request;
}

}  // namespace

H1Connection::H1Connection(std::unique_ptr<Link> link, const Timeouts& timeouts)
    : link_(std::move(link)), timeouts_(timeouts), buffer_(header_limit + piece_size) {}

bool H1Connection::over() {
  char byte = 0;
  const auto got = ::recv(link_->socket().socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK) || buffer_.size() > 0;
}

asio::awaitable<Exchanged> H1Connection::exchange(const Outgoing& asked, const Sink* sink) {
  reusable_ = false;
  Exchanged out{make_error(Errc::internal)};
  if (const auto sent = co_await send(asked); !sent) {
    out.answer = sent.error();
    co_return out;
  }
  out.answer = co_await receive(sink, out.heard);
  co_return out;
}

asio::awaitable<Result<>> H1Connection::send(const Outgoing& asked) {
  const auto request = request_of(asked);
  link_->socket().expires_after(timeouts_.answer);
  const auto [error, bytes] = co_await http::async_write(link_->stream, request, awaited);
  if (error) co_return link_->failed(error, "cannot send a request");
  co_return Result<>();
}

asio::awaitable<Result<Answer>> H1Connection::receive(const Sink* sink, bool& heard) {
  http::response_parser<http::buffer_body> parser;
  parser.header_limit(header_limit);
  parser.body_limit(boost::none);  // the builder bounds what it keeps
  link_->socket().expires_after(timeouts_.answer);
  const auto [header_error, header_bytes] =
      co_await http::async_read_header(link_->stream, buffer_, parser, awaited);
  heard = parser.got_some();
  if (header_error) co_return link_->failed(header_error, "no answer");
  AnswerBuilder builder(sink);
  builder.status(static_cast<int>(parser.get().result_int()));
  for (const auto field : {http::field::retry_after, http::field::content_encoding}) {
    const auto name = field == http::field::retry_after ? "retry-after" : "content-encoding";
    const auto value = parser.get()[field];
    if (!value.empty()) builder.field(name, {value.data(), value.size()});
  }
  if (auto begun = builder.begin(); !begun) co_return begun.error();
  const auto piece = std::make_unique<std::array<char, piece_size>>();
  while (!parser.is_done()) {
    parser.get().body().data = piece->data();
    parser.get().body().size = piece->size();
    link_->socket().expires_after(builder.streaming() ? timeouts_.silence : timeouts_.answer);
    const auto [error, bytes] = co_await http::async_read_some(link_->stream, buffer_, parser, awaited);
    if (error && error != http::error::need_buffer) co_return link_->failed(error, "an answer broke off");
    const std::string_view got(piece->data(), piece->size() - parser.get().body().size);
    if (auto fed = builder.feed(got); !fed) co_return fed.error();
  }
  if (auto ended = builder.end(); !ended) co_return ended.error();
  reusable_ = parser.keep_alive();
  co_return builder.take();
}

}  // namespace heddle::source::kubernetes
