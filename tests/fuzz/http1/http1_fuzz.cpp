// SPDX-License-Identifier: Apache-2.0
// Request and response bytes through the HTTP/1 codecs, in pieces chosen by the input. Whatever request head
// is accepted must also be accepted by llhttp, unless its method is one that llhttp does not know: two
// readers of one request must not differ. What is forwarded of it is read as the same request again.
#include <llhttp.h>

#include "proxy/http/h1_client.h"
#include "proxy/http/h1_format.h"
#include "proxy/http/h1_server.h"
#include "proxy/http/strict.h"
#include "proxy/io/pipe.h"
#include "tests/fuzz/http_fuzz.h"

namespace heddle::proxy::http {
namespace {

void check_against_llhttp(std::string_view text) {
  RequestHead head;
  const std::size_t end = find_head_end(text);
  if (end == 0 || !parse_request_head(text.substr(0, end), head) || !settle(head)) return;
  llhttp_settings_t settings;
  llhttp_settings_init(&settings);
  settings.on_headers_complete = [](llhttp_t*) { return 1; };
  llhttp_t parser;
  llhttp_init(&parser, HTTP_REQUEST, &settings);
  const llhttp_errno_t error = llhttp_execute(&parser, text.data(), end);
  // llhttp is stricter about methods, targets, and the value of Connection; about framing it must agree.
  const bool framing = error == HPE_INVALID_CONTENT_LENGTH || error == HPE_INVALID_TRANSFER_ENCODING ||
                       error == HPE_UNEXPECTED_CONTENT_LENGTH || error == HPE_LF_EXPECTED;
  const bool repeated = error == HPE_UNEXPECTED_CONTENT_LENGTH;  // equal ones are merged here
  if (framing && !repeated) __builtin_trap();
}

// As a proxy would send it on.
void check_forwarded(std::string_view text) {
  RequestHead head;
  const std::size_t end = find_head_end(text);
  if (end == 0 || !parse_request_head(text.substr(0, end), head) || !settle(head)) return;
  strip_hop_by_hop(head.fields);
  strip_mesh_fields(head.fields);
  std::string sent;
  write_request_head(sent, head, head.content == Content::streamed ? Framing1::chunked : Framing1::as_is,
                     head.upgrade.empty() ? std::string_view{} : "upgrade");
  RequestHead again;
  if (find_head_end(sent) != sent.size() || has_lone_lf(sent)) __builtin_trap();
  // Its own fields may be one too many for the limit.
  if (head.fields.size() + 3 > max_fields) return;
  if (!parse_request_head(sent, again) || !settle(again)) __builtin_trap();
  const bool same = again.method() == head.method() && again.target() == head.target() &&
                    again.authority() == head.authority() && again.content == head.content &&
                    again.length == head.length && again.is_upgrade == head.is_upgrade;
  if (!same) __builtin_trap();
  for (std::size_t i = 0; i < again.fields.size(); ++i) {
    if (is_mesh_name(again.fields.name(i))) __builtin_trap();
  }
}

void check_trailers(std::string_view text) {
  ContentReader reader;
  reader.begin(ContentReader::Kind::chunked);
  while (!text.empty() && !reader.done()) {
    const auto step = reader.next(text);
    if (step.error != nullptr || step.used == 0) return;
    text.remove_prefix(step.used);
  }
  const Fields trailers = reader.take_trailers();
  for (std::size_t i = 0; i < trailers.size(); ++i) {
    if (is_mesh_name(trailers.name(i)) || trailers.id(i) == Name::content_length ||
        trailers.id(i) == Name::host)
      __builtin_trap();
  }
}

struct Nobody final : H1ClientOwner {
  void client_idle(H1Client&) override {}
  void client_closed(H1Client&) override {}
};

}  // namespace
}  // namespace heddle::proxy::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace heddle::proxy;
  using namespace heddle::proxy::http;
  if (size < 2) return 0;
  const std::uint8_t mode = data[0];
  const std::size_t step = data[1] == 0 ? size : data[1];
  const std::string_view text(reinterpret_cast<const char*>(data + 2), size - 2);
  FuzzLoop loop;
  auto [ours, theirs] = make_pipe(loop.loop);
  if (mode % 2 == 0) {
    check_against_llhttp(text);
    check_forwarded(text);
    check_trailers(text);
    FuzzHandler handler;
    FuzzOwner owner;
    auto server = make_h1_server(loop.engine, std::move(ours), handler, owner);
    loop.feed(*theirs, text, step);
    server->abort();
    loop.settle();
  } else {
    Nobody owner;
    FuzzRequester requester;
    H1Client client(loop.engine, std::move(ours), owner);
    RequestHead head;
    const char* const requests[] = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
                                    "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
                                    "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"};
    (void)parse_request_head(requests[mode / 2 % 4], head).has_value();
    (void)settle(head).has_value();
    requester.peer = client.start(head, true, requester);
    loop.feed(*theirs, text, step);
    client.close();
    loop.settle();
  }
  return 0;
}
