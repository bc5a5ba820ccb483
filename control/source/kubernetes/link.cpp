// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/link.h"

#include <netinet/tcp.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http/error.hpp>

#include "control/source/kubernetes/tls.h"

namespace heddle::source::kubernetes {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

constexpr auto awaited = asio::as_tuple(asio::use_awaitable);
constexpr std::string_view protocols("\x02h2\x08http/1.1", 12);  // RFC 7301, 3.1; best first

// Requests leave at once, and a server that vanished without a word is noticed before a watch's silence would
// tell.
void tune(tcp::socket& socket) {
  using UserTimeout = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_USER_TIMEOUT>;
  using Idle = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPIDLE>;
  using Interval = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPINTVL>;
  using Count = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPCNT>;
  boost::system::error_code ignored;  // without them the silence tells
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  socket.set_option(Idle(15), ignored);
  socket.set_option(Interval(5), ignored);
  socket.set_option(Count(3), ignored);
  socket.set_option(UserTimeout(30'000), ignored);
}

Result<asio::ssl::context> tls_context(const Access& access, const ExecCredential* given) {
  if (given == nullptr || !access.certificate.empty()) return make_tls_context(access);
  Access presented = access;
  presented.certificate.text = given->certificate;
  presented.key.text = given->key;
  return make_tls_context(presented);
}

Error failed_with(const std::string& peer, const boost::system::error_code& code, const std::string& doing) {
  const std::string what = peer + ": " + doing;
  if (code == beast::error::timeout) return make_error(Errc::timeout, what + " in time");
  const bool broke_off = code == http::error::end_of_stream || code == http::error::partial_message;
  if (code.category() == make_error_code(http::error::bad_version).category() && !broke_off) {
    return make_error(Errc::protocol, what + ": not HTTP: " + code.message());
  }
  return Error{code, what};
}

bool chose_h2(const SSL* tls) {
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(tls, &name, &size);
  return std::string_view(reinterpret_cast<const char*>(name), size) == "h2";
}

Result<> offer(SSL* tls, const Access& access) {
  const auto* names = reinterpret_cast<const unsigned char*>(protocols.data());
  if (SSL_set_alpn_protos(tls, names, static_cast<unsigned int>(protocols.size())) != 0) {
    return make_error(Errc::internal, "TLS takes no names of protocols");
  }
  return expect_server(tls, access);
}

}  // namespace

Error Link::failed(const boost::system::error_code& code, const std::string& doing) const {
  return failed_with(peer, code, doing);
}

asio::awaitable<Result<std::unique_ptr<Link>>> connect(asio::io_context& context,
                                                       std::shared_ptr<const Access> access,
                                                       std::shared_ptr<const ExecCredential> given,
                                                       std::chrono::milliseconds time_limit) {
  auto tls = tls_context(*access, given.get());
  if (!tls) co_return tls.error();
  tcp::resolver resolver(context);
  const std::string port = std::to_string(access->port);
  const std::string peer = "API server " + access->host + ":" + port;
  const auto [resolve_error, places] = co_await resolver.async_resolve(access->host, port, awaited);
  if (resolve_error) co_return failed_with(peer, resolve_error, "its name cannot be resolved");
  auto link = std::make_unique<Link>(context, std::move(*tls));
  link->peer = peer;
  link->socket().expires_after(time_limit);
  const auto [connect_error, place] = co_await link->socket().async_connect(places, awaited);
  if (connect_error) co_return link->failed(connect_error, "cannot connect");
  tune(link->socket().socket());
  SSL* const session = link->stream.native_handle();
  if (auto set = offer(session, *access); !set) co_return set.error();
  link->socket().expires_after(time_limit);
  const auto [tls_error] = co_await link->stream.async_handshake(asio::ssl::stream_base::client, awaited);
  if (tls_error) {
    const std::string why = why_unverified(session);
    if (why.empty()) co_return link->failed(tls_error, "TLS");
    co_return make_error(Errc::permission_denied,
                         peer + ": its certificate is not accepted: " + why +
                             "; compare certificate-authority and tls-server-name (" + access->server_name +
                             ")");
  }
  link->h2 = chose_h2(session);
  spdlog::debug("connected to the API server address={}:{} protocol={}", access->host, port,
                link->h2 ? "h2" : "http/1.1");
  co_return link;
}

}  // namespace heddle::source::kubernetes
