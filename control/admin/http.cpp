// SPDX-License-Identifier: Apache-2.0
#include "control/admin/http.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <optional>
#include <thread>

#include "base/ip.h"

namespace heddle::control {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

namespace {

constexpr int connection_limit = 64;
constexpr auto idle_limit = std::chrono::seconds(15);
constexpr auto accept_again = std::chrono::milliseconds(200);
constexpr std::size_t header_limit = 8 * 1024;

http::response<http::string_body> answer(const http::request<http::empty_body>& request,
                                         const AdminPages& pages) {
  http::response<http::string_body> response(http::status::ok, request.version());
  const std::string_view target(request.target().data(), request.target().size());
  const std::string_view path = target.substr(0, target.find('?'));
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  if (request.method() != http::verb::get && request.method() != http::verb::head) {
    response.result(http::status::method_not_allowed);
    response.body() = "only GET\n";
  } else if (path == "/metrics") {
    response.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
    response.body() = pages.metrics();
  } else if (path == "/live") {
    response.body() = "live\n";
  } else if (path == "/ready") {
    const bool ready = pages.ready();
    if (!ready) response.result(http::status::service_unavailable);
    response.body() = ready ? "ready\n" : "not ready\n";
  } else {
    response.result(http::status::not_found);
    response.body() = "try /metrics, /ready or /live\n";
  }
  response.keep_alive(request.keep_alive());
  response.prepare_payload();
  if (request.method() == http::verb::head) response.body().clear();
  return response;
}

// One connection; keeps itself alive through its handlers.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, const AdminPages& pages, int& open)
      : stream_(std::move(socket)), pages_(pages), open_(open) {
    ++open_;
  }
  ~Connection() { --open_; }

  void read() {
    parser_.emplace();
    parser_->header_limit(header_limit);
    parser_->body_limit(0);
    stream_.expires_after(idle_limit);
    http::async_read(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](beast::error_code error, std::size_t) { self->on_read(error); });
  }

 private:
  void on_read(beast::error_code error) {
    if (error) return;
    response_ = answer(parser_->get(), pages_);
    http::async_write(stream_, response_, [self = shared_from_this()](beast::error_code failed, std::size_t) {
      if (!failed && self->response_.keep_alive()) self->read();
    });
  }

  beast::tcp_stream stream_;
  beast::flat_buffer buffer_{header_limit * 2};
  std::optional<http::request_parser<http::empty_body>> parser_;
  http::response<http::string_body> response_;
  const AdminPages& pages_;
  int& open_;
};

}  // namespace

struct AdminServer::Parts {
  AdminPages pages;
  int open = 0;  // of the thread's own
  asio::io_context context{1};
  tcp::acceptor acceptor{context};
  asio::steady_timer again{context};
  std::thread thread;

  void accept() {
    acceptor.async_accept([this](beast::error_code error, tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (!error && open < connection_limit) {
        std::make_shared<Connection>(std::move(socket), pages, open)->read();
      }
      if (!error) return accept();
      // Out of descriptors: the connection stays queued, so that trying at once would never pause.
      again.expires_after(accept_again);
      again.async_wait([this](beast::error_code) { accept(); });
    });
  }
};

AdminServer::AdminServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

AdminServer::~AdminServer() {
  parts_->context.stop();
  if (parts_->thread.joinable()) parts_->thread.join();
}

Result<std::unique_ptr<AdminServer>> AdminServer::start(const std::string& address, AdminPages pages) {
  const auto parsed = SocketAddress::parse(address);
  if (!parsed) return parsed.error();
  auto parts = std::make_unique<Parts>();
  parts->pages = std::move(pages);
  const bool v4 = parsed->ip.is_v4();
  const auto ip = v4 ? asio::ip::address(asio::ip::address_v4(parsed->ip.v4_host_order()))
                     : asio::ip::address(asio::ip::address_v6(parsed->ip.bytes()));
  const tcp::endpoint endpoint(ip, parsed->port);
  beast::error_code error;
  parts->acceptor.open(endpoint.protocol(), error);
  if (!error) parts->acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) parts->acceptor.bind(endpoint, error);
  if (!error) parts->acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return Error{error, "cannot listen on --admin-address " + address};
  parts->accept();
  parts->thread = std::thread([raw = parts.get()] { raw->context.run(); });
  return std::unique_ptr<AdminServer>(new AdminServer(std::move(parts)));
}

std::uint16_t AdminServer::port() const {
  return parts_->acceptor.local_endpoint().port();
}

}  // namespace heddle::control
