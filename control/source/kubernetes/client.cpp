// SPDX-License-Identifier: Apache-2.0
#include "control/source/kubernetes/client.h"

#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <charconv>

#include "control/source/kubernetes/gunzip.h"
#include "control/source/kubernetes/tls.h"

namespace heddle::source::kubernetes {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

namespace {

constexpr auto awaited = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t header_limit = 16 * 1024;
constexpr std::size_t piece_size = 32 * 1024;
constexpr std::chrono::milliseconds plugin_look_up{
    20};                                            // from one look at whether it gave something to the next
constexpr std::size_t complaint_limit = 64 * 1024;  // of a body that explains a refusal

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

// Seconds only; a date is as good as none.
std::optional<std::chrono::seconds> retry_after_of(std::string_view text) {
  unsigned seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return std::chrono::seconds(seconds);
}

}  // namespace

struct Client::Connection {
  Connection(asio::io_context& context, asio::ssl::context tls_context)
      : tls(std::move(tls_context)), stream(context, tls) {}

  beast::tcp_stream& socket() { return beast::get_lowest_layer(stream); }

  // The server has ended it, or said something unasked, which is its farewell (a TLS alert, a 408).
  bool over() {
    char byte = 0;
    const auto got = ::recv(socket().socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK) || buffer.size() > 0;
  }

  asio::ssl::context tls;
  beast::ssl_stream<beast::tcp_stream> stream;
  beast::flat_buffer buffer{header_limit + piece_size};
  bool heard = false;  // a byte of the answer that is awaited
};

Client::Client(asio::io_context& context, const Access& access, const Timeouts& timeouts)
    : context_(context), access_(access), timeouts_(timeouts) {}
Client::~Client() = default;

void Client::disconnect() {
  connection_.reset();
}

asio::awaitable<Result<Answer>> Client::call(Request request) {
  co_return co_await ask(std::move(request), nullptr, timeouts_.answer);
}

asio::awaitable<Result<Answer>> Client::get(std::string target) {
  Request request;
  request.target = std::move(target);
  co_return co_await ask(std::move(request), nullptr, timeouts_.answer);
}

asio::awaitable<Result<Answer>> Client::watch(std::string target, const Sink& sink) {
  Request request;
  request.target = std::move(target);
  co_return co_await ask(std::move(request), &sink, timeouts_.silence);
}

asio::awaitable<Result<Answer>> Client::ask(Request asked, const Sink* sink,
                                            std::chrono::milliseconds silence) {
  if (connection_ && connection_->over()) connection_.reset();
  const bool kept = connection_ != nullptr;
  auto answer = co_await ask_once(asked, sink, silence);
  if (answer) co_return answer;
  const bool lost = kept && connection_ && !connection_->heard;
  connection_.reset();
  // Time-outs and cancellation end the question, not the connection alone.
  const auto& code = answer.error().code;
  const bool given_up = code == Errc::timeout || code == asio::error::operation_aborted;
  if (!lost || given_up || asked.method != "GET") co_return answer;
  answer = co_await ask_once(asked, sink, silence);
  if (!answer) connection_.reset();
  co_return answer;
}

asio::awaitable<Result<Answer>> Client::ask_once(const Request& asked, const Sink* sink,
                                                 std::chrono::milliseconds silence) {
  if (!connection_) read_again();
  const auto obtained = co_await obtain_credential();
  if (!obtained) co_return obtained.error();
  if (!connection_) {
    const auto connected = co_await connect();
    if (!connected) co_return connected.error();
  }
  connection_->heard = false;
  const auto sent = co_await send(asked);
  if (!sent) co_return sent.error();
  co_return co_await receive(sink, silence);
}

// With the certificate that a program gave, if it did.
Result<asio::ssl::context> Client::tls_context() const {
  if (credential_ == nullptr || !access().certificate.empty()) return make_tls_context(access());
  Access presented = access();
  presented.certificate.text = credential_->certificate;
  presented.key.text = credential_->key;
  return make_tls_context(presented);
}

asio::awaitable<Result<>> Client::connect() {
  auto tls = tls_context();
  if (!tls) co_return tls.error();
  tcp::resolver resolver(context_);
  const std::string port = std::to_string(access().port);
  const auto [resolve_error, places] = co_await resolver.async_resolve(access().host, port, awaited);
  if (resolve_error) co_return failed(resolve_error, "its name cannot be resolved");
  connection_ = std::make_unique<Connection>(context_, std::move(*tls));
  Connection& c = *connection_;
  c.socket().expires_after(timeouts_.connect);
  const auto [connect_error, place] = co_await c.socket().async_connect(places, awaited);
  if (connect_error) co_return failed(connect_error, "cannot connect");
  tune(c.socket().socket());
  if (auto set = expect_server(c.stream.native_handle(), access()); !set) co_return set;
  c.socket().expires_after(timeouts_.connect);
  const auto [tls_error] = co_await c.stream.async_handshake(asio::ssl::stream_base::client, awaited);
  if (tls_error) {
    const std::string why = why_unverified(c.stream.native_handle());
    if (why.empty()) co_return failed(tls_error, "TLS");
    co_return make_error(
        Errc::permission_denied,
        "API server " + access().host + ":" + port + ": its certificate is not accepted: " + why +
            "; compare certificate-authority and tls-server-name (" + access().server_name + ")");
  }
  co_return Result<>();
}

const Access& Client::access() const {
  return newer_ ? *newer_ : access_;
}

// What cannot be read does not part us from a server that we can speak to.
void Client::read_again() {
  if (!access_.read_again) return;
  auto read = access_.read_again();
  if (read) {
    newer_ = std::move(*read);
    complaint_.clear();
    return;
  }
  const std::string why = read.error().message();
  if (why != complaint_) spdlog::warn("what the kubeconfig said before stays in use: {}", why);
  complaint_ = why;
}

// Once per question, so that its connection and its token are of one credential.
asio::awaitable<Result<>> Client::obtain_credential() {
  credential_.reset();
  const auto credentials = access().credentials;
  if (credentials == nullptr || !access().token.empty() || !access().certificate.empty())
    co_return Result<>();
  auto given = credentials->get();
  while (!given) {
    asio::steady_timer timer(context_, plugin_look_up);
    co_await timer.async_wait(awaited);
    given = credentials->get();
  }
  if (!*given) co_return given->error();
  credential_ = **given;
  co_return Result<>();
}

// Empty: none is sent.
Result<std::string> Client::token() const {
  if (!access().token.empty()) return read_token(access().token);
  return credential_ == nullptr ? std::string() : credential_->token;
}

asio::awaitable<Result<>> Client::send(const Request& asked) {
  http::request<http::string_body> request;
  request.version(11);
  request.method_string(asked.method);
  request.target(access().path_prefix + asked.target);
  const bool v6 = access().host.find(':') != std::string::npos;
  const std::string host = v6 ? "[" + access().host + "]" : access().host;
  request.set(http::field::host, access().port == 443 ? host : host + ":" + std::to_string(access().port));
  request.set(http::field::user_agent, "heddle");
  request.set(http::field::accept, "application/json");
  request.set(http::field::accept_encoding, "gzip");
  if (!asked.body.empty()) {
    request.set(http::field::content_type, asked.content_type);
    request.body() = asked.body;
  }
  if (asked.method != "GET") request.prepare_payload();
  const auto token = this->token();
  if (!token) co_return token.error();
  if (!token->empty()) request.set(http::field::authorization, "Bearer " + *token);
  connection_->socket().expires_after(timeouts_.answer);
  const auto [error, bytes] = co_await http::async_write(connection_->stream, request, awaited);
  if (error) co_return failed(error, "cannot send a request");
  co_return Result<>();
}

asio::awaitable<Result<Answer>> Client::receive(const Sink* sink, std::chrono::milliseconds silence) {
  Connection& c = *connection_;
  http::response_parser<http::buffer_body> parser;
  parser.header_limit(header_limit);
  parser.body_limit(boost::none);  // bounded below, where it is kept
  c.socket().expires_after(timeouts_.answer);
  const auto [header_error, header_bytes] =
      co_await http::async_read_header(c.stream, c.buffer, parser, awaited);
  c.heard = parser.got_some();
  if (header_error) co_return failed(header_error, "no answer");
  Answer answer;
  answer.status = parser.get().result_int();
  if (answer.status == 401 && credential_ != nullptr) access().credentials->refuse(credential_);
  const auto retry_after = parser.get()[http::field::retry_after];
  answer.retry_after = retry_after_of({retry_after.data(), retry_after.size()});
  const auto encoding = parser.get()[http::field::content_encoding];
  std::optional<Gunzip> gunzip;
  if (encoding == "gzip") gunzip.emplace();
  if (!encoding.empty() && !gunzip && encoding != "identity") {
    co_return make_error(Errc::protocol, "an answer is encoded as nobody asked: " + std::string(encoding));
  }
  const bool streaming = sink != nullptr && answer.status == 200;
  const std::size_t limit = answer.status / 100 == 2 ? body_limit : complaint_limit;
  if (streaming) {
    if (auto taken = (*sink)({}); !taken) co_return taken.error();
  }
  const Sink keep = [&answer, limit](std::string_view got) -> Result<> {
    if (answer.body.size() + got.size() > limit) {
      return make_error(Errc::exhausted, "an answer is larger than " + std::to_string(limit) + " bytes");
    }
    answer.body += got;
    return {};
  };
  const Sink& decoded = streaming ? *sink : keep;
  const auto piece = std::make_unique<std::array<char, piece_size>>();
  while (!parser.is_done()) {
    parser.get().body().data = piece->data();
    parser.get().body().size = piece->size();
    c.socket().expires_after(silence);
    const auto [error, bytes] = co_await http::async_read_some(c.stream, c.buffer, parser, awaited);
    if (error && error != http::error::need_buffer) co_return failed(error, "an answer broke off");
    const std::string_view got(piece->data(), piece->size() - parser.get().body().size);
    if (got.empty()) continue;
    const auto taken = gunzip ? gunzip->feed(got, decoded) : decoded(got);
    if (!taken) co_return taken.error();
  }
  if (gunzip && !gunzip->complete()) co_return make_error(Errc::protocol, "a gzip answer ends too early");
  // A certificate is presented when connecting only.
  if (!parser.keep_alive() || answer.status == 401) connection_.reset();
  co_return answer;
}

// The codes that matter to the caller are told apart; the rest says what the system says.
Error Client::failed(const boost::system::error_code& code, const std::string& doing) const {
  const std::string what = "API server " + access().host + ":" + std::to_string(access().port) + ": " + doing;
  if (code == beast::error::timeout) return make_error(Errc::timeout, what + " in time");
  const bool broke_off = code == http::error::end_of_stream || code == http::error::partial_message;
  if (code.category() == make_error_code(http::error::bad_version).category() && !broke_off) {
    return make_error(Errc::protocol, what + ": not HTTP: " + code.message());
  }
  return Error{code, what};
}

}  // namespace heddle::source::kubernetes
