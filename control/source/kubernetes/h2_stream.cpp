// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/h2_stream.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <charconv>

namespace heddle::source::kubernetes {

std::vector<std::pair<std::string, std::string>> h2_fields(const Outgoing& asked) {
  const Request& request = asked.request;
  std::vector<std::pair<std::string, std::string>> out{
      {":method", request.method}, {":scheme", "https"},     {":authority", asked.authority},
      {":path", request.target},   {"user-agent", "heddle"}, {"accept", "application/json"},
      {"accept-encoding", "gzip"}};
  if (!request.body.empty()) out.emplace_back("content-type", request.content_type);
  if (request.method != "GET") out.emplace_back("content-length", std::to_string(request.body.size()));
  if (!asked.token.empty()) out.emplace_back("authorization", "Bearer " + asked.token);
  return out;
}

void H2Connection::Stream::on_field(std::string_view name, std::string_view value) {
  if (begun) return;  // a trailer
  if (name == ":status") {
    int code = 0;
    std::from_chars(value.data(), value.data() + value.size(), code);
    return builder.status(code);
  }
  builder.field(name, value);
}

void H2Connection::Stream::on_head() {
  heard = true;
  last_heard = std::chrono::steady_clock::now();
  if (begun || builder.status() < 200) return;  // trailers, or an interim answer
  begun = true;
  wake.cancel();  // another deadline holds from now on
  if (auto begun_well = builder.begin(); !begun_well) fail(begun_well.error());
}

void H2Connection::Stream::on_data(std::string_view bytes) {
  last_heard = std::chrono::steady_clock::now();
  if (over()) return;
  if (auto fed = builder.feed(bytes); !fed) fail(fed.error());
}

void H2Connection::Stream::on_end() {
  if (over()) return;
  if (auto ended = builder.end(); !ended) return fail(ended.error());
  done = true;
  wake.cancel();
}

void H2Connection::Stream::on_close(const std::string& peer, std::uint32_t code) {
  closed = true;
  untouched |= code == NGHTTP2_REFUSED_STREAM;
  if (!done && !error) {
    fail(make_error(Errc::closed, peer + (begun ? ": an answer broke off: " : ": no answer: ") +
                                      nghttp2_http2_strerror(code)));
  }
  wake.cancel();
}

void H2Connection::Stream::fail(const Error& why) {
  if (done || error) return;
  error = why;
  wake.cancel();
}

std::size_t H2Connection::Stream::read_body(std::uint8_t* to, std::size_t size, std::uint32_t& flags) {
  const std::size_t fits = std::min(size, body.size());
  std::ranges::copy(body.substr(0, fits), to);
  body.remove_prefix(fits);
  if (body.empty()) flags |= NGHTTP2_DATA_FLAG_EOF;
  return fits;
}

}  // namespace heddle::source::kubernetes
