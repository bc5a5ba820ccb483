// SPDX-License-Identifier: Apache-2.0
#include "control/injector/server.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <chrono>
#include <optional>
#include <thread>

#include "base/ip.h"
#include "control/injector/review.h"

namespace heddle::control {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;

namespace {

constexpr int connection_limit = 128;
constexpr auto handshake_limit = std::chrono::seconds(5);
constexpr auto idle_limit = std::chrono::seconds(30);     // between requests, until the next one's header
constexpr auto request_limit = std::chrono::seconds(10);  // the body, then the answer: each
constexpr auto accept_again = std::chrono::milliseconds(200);
constexpr std::size_t header_limit = 16 * 1024;

struct Shared {
  WebhookServer::Mutate mutate;
  WebhookCounters& counters;
};

// One connection; keeps itself alive through its handlers.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, std::shared_ptr<ssl::context> tls, Shared& shared)
      : tls_(std::move(tls)), stream_(std::move(socket), *tls_), shared_(shared) {
    ++shared_.counters.open;
  }
  ~Connection() { --shared_.counters.open; }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void start() {
    beast::get_lowest_layer(stream_).expires_after(handshake_limit);
    stream_.async_handshake(ssl::stream_base::server, [self = shared_from_this()](beast::error_code error) {
      if (!error) return self->read_header();
      ++self->shared_.counters.handshakes_failed;
    });
  }

 private:
  void read_header() {
    parser_.emplace();
    parser_->header_limit(header_limit);
    parser_->body_limit(longest_review);
    beast::get_lowest_layer(stream_).expires_after(idle_limit);
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = shared_from_this()](beast::error_code error, std::size_t) {
                              error ? self->broken(error) : self->read_body();
                            });
  }

  void read_body() {
    beast::get_lowest_layer(stream_).expires_after(request_limit);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](beast::error_code error, std::size_t) {
                       error ? self->broken(error) : self->write(self->answer());
                     });
  }

  // What is wrong is said where there is somebody to hear it.
  void broken(beast::error_code error) {
    if (error == http::error::end_of_stream || error == ssl::error::stream_truncated) return;
    if (error == beast::error::timeout && !parser_->got_some()) return;  // idle
    ++shared_.counters.bad_requests;
    if (error.category() != beast::error_code(http::error::bad_method).category()) return;
    const bool too_large = error == http::error::body_limit;
    Response response(too_large ? http::status::payload_too_large : http::status::bad_request, 11);
    response.body() = error.message() + "\n";
    response.keep_alive(false);
    write(std::move(response));
  }

  using Response = http::response<http::string_body>;

  Response answer() {
    const auto& request = parser_->get();
    const std::string_view target(request.target().data(), request.target().size());
    const std::string_view path = target.substr(0, target.find('?'));
    Response response(http::status::ok, request.version());
    response.set(http::field::content_type, "text/plain; charset=utf-8");
    response.keep_alive(request.keep_alive());
    if (path == "/healthz" && request.method() == http::verb::get) {
      response.body() = "ok\n";
      return response;
    }
    if (path != "/mutate") {
      response.result(http::status::not_found);
      response.body() = "try POST /mutate or GET /healthz\n";
    } else if (request.method() != http::verb::post) {
      response.result(http::status::method_not_allowed);
      response.body() = "only POST\n";
    } else if (auto body = shared_.mutate(request.body())) {
      response.set(http::field::content_type, "application/json");
      response.body() = std::move(*body);
      return response;
    } else {
      response.result(http::status::bad_request);
      response.body() = body.error().message() + "\n";
    }
    ++shared_.counters.bad_requests;
    return response;
  }

  void write(Response response) {
    response_ = std::move(response);
    response_.prepare_payload();
    keep_alive_ = response_.keep_alive();
    parser_.reset();  // the body, before the next one comes
    beast::get_lowest_layer(stream_).expires_after(request_limit);
    http::async_write(stream_, response_, [self = shared_from_this()](beast::error_code error, std::size_t) {
      if (error) return;
      self->response_ = {};
      self->buffer_.shrink_to_fit();  // idle connections hold no buffers
      if (self->keep_alive_) return self->read_header();
      self->discard(0);
    });
  }

  // Closed with bytes unread, the connection would be reset, and the answer lost on its way.
  void discard(std::size_t so_far) {
    if (so_far > 2 * longest_review) return;
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(header_limit),
                            [self = shared_from_this(), so_far](beast::error_code error, std::size_t got) {
                              if (!error) return self->discard(so_far + got);
                              self->stream_.async_shutdown([self](beast::error_code) {});
                            });
  }

  // Destroyed after the stream: certificates may have been replaced meanwhile.
  const std::shared_ptr<ssl::context> tls_;
  beast::ssl_stream<beast::tcp_stream> stream_;
  beast::flat_buffer buffer_{header_limit + longest_review};
  std::optional<http::request_parser<http::string_body>> parser_;
  Response response_;
  bool keep_alive_ = false;
  Shared& shared_;
};

Result<std::shared_ptr<ssl::context>> make_context(const WebhookCertificate& certificate) {
  if (const auto checked = check_webhook_certificate(certificate); !checked) return checked.error();
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  SSL_CTX_set_options(context->native_handle(), SSL_OP_NO_RENEGOTIATION);
  beast::error_code error;
  context->use_certificate_chain(asio::buffer(certificate.certificate), error);
  if (!error) context->use_private_key(asio::buffer(certificate.key), ssl::context::pem, error);
  if (error) return Error{error, "the webhook's certificate cannot be used"};
  return context;
}

Result<tcp::endpoint> endpoint_of(const std::string& address) {
  const auto parsed = SocketAddress::parse(address.starts_with(':') ? "[::]" + address : address);
  if (!parsed) return parsed.error();
  const auto ip = parsed->ip.is_v4() ? asio::ip::address(asio::ip::address_v4(parsed->ip.v4_host_order()))
                                     : asio::ip::address(asio::ip::address_v6(parsed->ip.bytes()));
  return tcp::endpoint(ip, parsed->port);
}

}  // namespace

struct WebhookServer::Parts {
  Parts(WebhookCounters& counters, Mutate mutate) : shared{std::move(mutate), counters} {}

  Shared shared;
  std::shared_ptr<ssl::context> tls;  // of the thread's own; null: no certificate yet
  asio::io_context context{1};
  tcp::acceptor acceptor{context};
  asio::steady_timer again{context};
  std::thread thread;

  void accept() {
    acceptor.async_accept([this](beast::error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (!error) {
        take(std::move(socket));
        return accept();
      }
      // Out of descriptors: the connection stays queued, so that trying at once would never pause.
      again.expires_after(accept_again);
      again.async_wait([this](beast::error_code) { accept(); });
    });
  }

  void take(tcp::socket socket) {
    if (tls == nullptr || shared.counters.open >= connection_limit) {
      ++shared.counters.turned_away;
      return;
    }
    std::make_shared<Connection>(std::move(socket), tls, shared)->start();
  }
};

WebhookServer::WebhookServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

WebhookServer::~WebhookServer() {
  parts_->context.stop();
  if (parts_->thread.joinable()) parts_->thread.join();
}

Result<std::unique_ptr<WebhookServer>> WebhookServer::start(const std::string& address,
                                                            WebhookCounters& counters, Mutate mutate) {
  const auto endpoint = endpoint_of(address);
  if (!endpoint) return endpoint.error();
  auto parts = std::make_unique<Parts>(counters, std::move(mutate));
  beast::error_code error;
  parts->acceptor.open(endpoint->protocol(), error);
  // "[::]" takes IPv4 too, whatever the node's default.
  if (!error && endpoint->address().is_v6()) parts->acceptor.set_option(asio::ip::v6_only(false), error);
  if (!error) parts->acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) parts->acceptor.bind(*endpoint, error);
  if (!error) parts->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return Error{error, "cannot listen on --webhook-address " + address};
  parts->accept();
  parts->thread = std::thread([raw = parts.get()] { raw->context.run(); });
  return std::unique_ptr<WebhookServer>(new WebhookServer(std::move(parts)));
}

Result<> WebhookServer::use(const WebhookCertificate& certificate) {
  auto made = make_context(certificate);
  if (!made) return made.error();
  asio::post(parts_->context, [parts = parts_.get(), context = std::move(*made)]() mutable {
    parts->tls = std::move(context);
  });
  return {};
}

std::uint16_t WebhookServer::port() const {
  return parts_->acceptor.local_endpoint().port();
}

}  // namespace heddle::control
