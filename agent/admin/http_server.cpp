// SPDX-License-Identifier: Apache-2.0
#include "agent/admin/http_server.h"

#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <deque>
#include <list>

namespace heddle::agent {
namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Socket = asio::generic::stream_protocol::socket;

namespace {

constexpr std::size_t max_connections = 64;
constexpr std::size_t max_body = 64 * 1024;
constexpr std::size_t max_waiting_pieces = 1024;
constexpr std::chrono::seconds patience{30};

// One connection, as the server sees it.
class Visitor {
 public:
  virtual ~Visitor() = default;
  // It has asked nothing that is not answered.
  virtual bool is_idle() const = 0;
  virtual void close() = 0;
};

}  // namespace

struct HttpServer::Impl {
  Impl(Loop& loop, Handler handle) : context(loop.context()), handler(std::move(handle)) {}
  asio::io_context& context;
  Handler handler;
  std::vector<std::unique_ptr<asio::local::stream_protocol::acceptor>> unix_acceptors;
  std::vector<std::unique_ptr<asio::ip::tcp::acceptor>> tcp_acceptors;
  std::list<std::weak_ptr<Visitor>> visitors;  // oldest first
  std::size_t connections = 0;
  bool closed = false;

  // Whoever only holds connections must not keep probes and scrapes out: the longest idle one makes room.
  bool has_room() {
    std::erase_if(visitors, [](const auto& visitor) { return visitor.expired(); });
    if (connections < max_connections) return true;
    for (const auto& weak : visitors) {
      const auto visitor = weak.lock();
      if (!visitor || !visitor->is_idle()) continue;
      visitor->close();
      return true;
    }
    return false;
  }
};

namespace {

// One connection; kept alive by its pending operations.
class Session final : public Visitor, public std::enable_shared_from_this<Session> {
 public:
  using Server = std::shared_ptr<HttpServer::Handler>;

  Session(Socket socket, Server handler, std::function<void()> ended)
      : socket_(std::move(socket)),
        timer_(socket_.get_executor()),
        handler_(std::move(handler)),
        ended_(std::move(ended)) {}
  ~Session() override { ended_(); }

  bool is_idle() const override { return idle_; }
  void close() override {
    idle_ = false;
    boost::system::error_code ignored;
    socket_.close(ignored);
  }

  void read() {
    parser_.emplace();
    parser_->header_limit(8 * 1024);
    parser_->body_limit(max_body);
    watch_time();
    idle_ = true;
    http::async_read(socket_, buffer_, *parser_,
                     [self = shared_from_this()](const boost::system::error_code& error, std::size_t) {
                       self->timer_.cancel();
                       if (!error) self->handle();
                     });
  }

 private:
  void watch_time() {
    timer_.expires_after(patience);
    timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& error) {
      if (error) return;
      if (const auto self = weak.lock()) self->close();
    });
  }

  void handle() {
    idle_ = false;
    const auto& message = parser_->get();
    HttpRequest request;
    request.method = std::string(message.method_string());
    const std::string target(message.target());
    const auto question = target.find('?');
    request.path = target.substr(0, question);
    if (question != std::string::npos) request.query = target.substr(question + 1);
    request.body = message.body();
    HttpAnswer answer = (*handler_)(request);
    const bool keep = message.keep_alive() && !answer.follow;
    http::response<http::string_body> head{static_cast<http::status>(answer.status), message.version()};
    head.set(http::field::content_type, answer.content_type);
    head.set(http::field::cache_control, "no-store");
    head.keep_alive(keep);
    if (answer.follow) {
      // Without a length: the end of the connection is the end of the body.
      head.keep_alive(false);
      start_following(head, answer);
      return;
    }
    head.body() = std::move(answer.body);
    head.prepare_payload();
    if (message.method() == http::verb::head) head.body().clear();
    response_.emplace(std::move(head));
    watch_time();
    http::async_write(socket_, *response_,
                      [self = shared_from_this(), keep](const boost::system::error_code& error, std::size_t) {
                        self->timer_.cancel();
                        if (!error && keep) self->read();
                      });
  }

  void start_following(const http::response<http::string_body>& head, const HttpAnswer& answer) {
    std::string text = "HTTP/1.1 200 OK\r\nContent-Type: " + std::string(head[http::field::content_type]) +
                       "\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n";
    enqueue(text + answer.body);
    notice_end();
    answer.follow([weak = weak_from_this()](std::string piece) {
      const auto self = weak.lock();
      if (!self || self->gone_ || self->pieces_.size() >= max_waiting_pieces) return false;
      self->enqueue(std::move(piece));
      return true;
    });
  }

  // Keeps the session alive until the reader leaves.
  void notice_end() {
    socket_.async_read_some(asio::buffer(scratch_),
                            [self = shared_from_this()](const boost::system::error_code& error, std::size_t) {
                              if (!error) return self->notice_end();
                              self->gone_ = true;
                              self->close();
                            });
  }

  void enqueue(std::string piece) {
    pieces_.push_back(std::move(piece));
    if (pieces_.size() == 1) write_piece();
  }

  void write_piece() {
    asio::async_write(socket_, asio::buffer(pieces_.front()),
                      [self = shared_from_this()](const boost::system::error_code& error, std::size_t) {
                        if (error) {
                          self->gone_ = true;
                          return;
                        }
                        self->pieces_.pop_front();
                        if (!self->pieces_.empty()) self->write_piece();
                      });
  }

  Socket socket_;
  asio::steady_timer timer_;
  Server handler_;
  std::function<void()> ended_;
  beast::flat_buffer buffer_{16 * 1024 + max_body};
  std::optional<http::request_parser<http::string_body>> parser_;
  std::optional<http::response<http::string_body>> response_;
  std::deque<std::string> pieces_;
  std::array<char, 256> scratch_{};
  bool gone_ = false;
  bool idle_ = false;
};

template <class Acceptor, class Impl>
void accept(Acceptor& acceptor, const std::shared_ptr<Impl>& impl) {
  acceptor.async_accept([&acceptor, impl](const boost::system::error_code& error, auto socket) {
    if (impl->closed || error == asio::error::operation_aborted) return;
    if (error) {
      // No descriptor left, most likely: not at once again.
      auto pause = std::make_shared<asio::steady_timer>(impl->context, std::chrono::milliseconds(100));
      pause->async_wait([&acceptor, impl, pause](const boost::system::error_code&) {
        if (!impl->closed) accept(acceptor, impl);
      });
      return;
    }
    if (impl->has_room()) {
      ++impl->connections;
      auto handler = std::make_shared<HttpServer::Handler>([impl](const HttpRequest& request) {
        return impl->closed ? HttpAnswer{503, "text/plain", "stopping\n", {}} : impl->handler(request);
      });
      const auto session = std::make_shared<Session>(Socket(std::move(socket)), std::move(handler),
                                                     [impl] { --impl->connections; });
      impl->visitors.push_back(session);
      session->read();
    }
    accept(acceptor, impl);
  });
}

}  // namespace

HttpServer::HttpServer(Loop& loop, Handler handler)
    : impl_(std::make_shared<Impl>(loop, std::move(handler))) {}

HttpServer::~HttpServer() {
  impl_->closed = true;
  impl_->handler = nullptr;
  boost::system::error_code ignored;
  for (auto& acceptor : impl_->unix_acceptors) acceptor->close(ignored);
  for (auto& acceptor : impl_->tcp_acceptors) acceptor->close(ignored);
}

Result<> HttpServer::listen_unix(const std::string& path) {
  if (path.size() >= 108)
    return make_error(Errc::invalid_argument, path + " is too long for a socket; use a shorter --run-dir");
  ::unlink(path.c_str());  // the run dir's lock is ours
  auto acceptor = std::make_unique<asio::local::stream_protocol::acceptor>(impl_->context);
  boost::system::error_code error;
  acceptor->open(asio::local::stream_protocol(), error);
  const mode_t previous = ::umask(0177);
  if (!error) acceptor->bind(asio::local::stream_protocol::endpoint(path), error);
  ::umask(previous);
  if (!error) acceptor->listen(64, error);
  if (error) return make_error(Errc::unavailable, "cannot listen at " + path + ": " + error.message());
  impl_->unix_acceptors.push_back(std::move(acceptor));
  accept(*impl_->unix_acceptors.back(), impl_);
  return {};
}

Result<> HttpServer::listen_tcp(const SocketAddress& address) {
  auto acceptor = std::make_unique<asio::ip::tcp::acceptor>(impl_->context);
  sockaddr_storage storage{};
  const socklen_t size = address.to_sockaddr(storage);
  asio::ip::tcp::endpoint endpoint;
  endpoint.resize(size);
  std::memcpy(endpoint.data(), &storage, size);
  boost::system::error_code error;
  acceptor->open(endpoint.protocol(), error);
  if (!error) acceptor->set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor->bind(endpoint, error);
  if (!error) acceptor->listen(64, error);
  if (error) {
    return make_error(Errc::unavailable, "cannot listen at " + address.to_string() + ": " + error.message() +
                                             "; choose another --http-address");
  }
  impl_->tcp_acceptors.push_back(std::move(acceptor));
  accept(*impl_->tcp_acceptors.back(), impl_);
  return {};
}

}  // namespace heddle::agent
