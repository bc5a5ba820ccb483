// SPDX-License-Identifier: Apache-2.0
#include "tools/cluster/exec.h"

#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/ssl.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>

#include "control/source/kubernetes/tls.h"

namespace heddle::tools {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace websocket = boost::beast::websocket;
namespace kubernetes = heddle::source::kubernetes;
using asio::ip::tcp;

constexpr auto awaited = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::seconds connect_time{10};
constexpr std::size_t frame_limit = 4 * 1024 * 1024;

class Exec {
 public:
  Exec(const kubernetes::Access& access, const ExecOptions& options,
       const std::function<bool(std::string_view)>& sink, asio::ssl::context tls)
      : access_(access), options_(options), sink_(sink), tls_(std::move(tls)), stream_(context_, tls_) {}

  Result<ExecResult> run(const ExecTarget& target, const std::vector<std::string>& argv) {
    watch_stop();
    asio::co_spawn(context_, talk(exec_path(target, argv)), asio::detached);
    context_.run();
    if (result_.stopped) return result_;
    if (failure_) return *failure_;
    result_.end = frames_.end();
    result_.standard_error = frames_.standard_error();
    return result_;
  }

 private:
  std::string place() const { return "API server " + access_.host + ":" + std::to_string(access_.port); }
  void fail(Error error) {
    failure_ = std::move(error);
    over();
  }
  void over() {
    boost::system::error_code not_open;
    stop_.cancel(not_open);
    beast::get_lowest_layer(stream_).close();
    context_.stop();  // the WebSocket's own timer would keep run() for as long as `silence`
  }

  // The descriptor is the caller's: a duplicate is closed here.
  void watch_stop() {
    if (options_.stop_fd < 0) return;
    stop_.assign(::dup(options_.stop_fd));
    stop_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [this](const boost::system::error_code& error) {
                       if (error) return;
                       result_.stopped = true;
                       over();
                     });
  }

  asio::awaitable<void> talk(std::string path) {
    if (auto connected = co_await connect(); !connected) co_return fail(connected.error());
    if (auto begun = co_await begin(access_.path_prefix + path); !begun) co_return fail(begun.error());
    if (auto done = co_await read(); !done) co_return fail(done.error());
    over();
  }

  asio::awaitable<Result<>> connect() {
    tcp::resolver resolver(context_);
    const auto [resolve_error, places] =
        co_await resolver.async_resolve(access_.host, std::to_string(access_.port), awaited);
    if (resolve_error) co_return Error{resolve_error, place() + ": its name cannot be resolved"};
    auto& socket = beast::get_lowest_layer(stream_);
    socket.expires_after(connect_time);
    const auto [connect_error, where] = co_await socket.async_connect(places, awaited);
    if (connect_error) co_return Error{connect_error, place() + ": cannot connect"};
    auto* tls = stream_.next_layer().native_handle();
    if (auto set = kubernetes::expect_server(tls, access_); !set) co_return set;
    const auto [tls_error] =
        co_await stream_.next_layer().async_handshake(asio::ssl::stream_base::client, awaited);
    if (tls_error) {
      const auto why = kubernetes::why_unverified(tls);
      co_return why.empty()
          ? Error{tls_error, place() + ": TLS"}
          : make_error(Errc::permission_denied, place() + ": its certificate is not accepted: " + why);
    }
    socket.expires_never();
    co_return Result<>();
  }

  asio::awaitable<Result<>> begin(std::string path) {
    std::string token;
    if (!access_.token.empty()) {
      auto read = kubernetes::read_token(access_.token);
      if (!read) co_return read.error();
      token = std::move(*read);
    }
    auto timeouts = websocket::stream_base::timeout::suggested(beast::role_type::client);
    timeouts.idle_timeout = options_.silence ? *options_.silence : websocket::stream_base::none();
    stream_.set_option(timeouts);
    stream_.set_option(websocket::stream_base::decorator([&](websocket::request_type& request) {
      request.set(http::field::user_agent, "heddle");
      request.set(http::field::sec_websocket_protocol, exec_protocol);
      if (!token.empty()) request.set(http::field::authorization, "Bearer " + token);
    }));
    stream_.read_message_max(frame_limit);
    websocket::response_type response;
    const auto host = access_.host.find(':') == std::string::npos ? access_.host : "[" + access_.host + "]";
    const auto [error] =
        co_await stream_.async_handshake(response, host + ":" + std::to_string(access_.port), path, awaited);
    if (error == websocket::error::upgrade_declined) co_return refused(response);
    if (error) co_return Error{error, place() + ": cannot begin exec"};
    co_return Result<>();
  }

  Error refused(const websocket::response_type& response) const {
    const unsigned status = response.result_int();
    std::string what = place() + " refused exec with status " + std::to_string(status);
    if (const auto& body = response.body(); !body.empty()) what += ": " + body.substr(0, 300);
    if (status == 401 || status == 403) {
      return make_error(Errc::permission_denied,
                        what + "; you need the verbs get and create of pods/exec in heddle's namespace");
    }
    return make_error(status == 404 ? Errc::not_found : Errc::unavailable, what);
  }

  asio::awaitable<Result<>> read() {
    beast::flat_buffer buffer;
    while (!frames_.ended()) {
      const auto [error, bytes] = co_await stream_.async_read(buffer, awaited);
      if (error == websocket::error::closed) break;
      if (error == beast::error::timeout)
        co_return make_error(Errc::timeout, place() + ": exec says nothing more");
      if (error) co_return Error{error, place() + ": exec broke off"};
      std::string_view out;
      const auto data = buffer.cdata();
      if (auto fed = frames_.feed({static_cast<const char*>(data.data()), data.size()}, out); !fed)
        co_return fed;
      if (!out.empty() && !sink_(out)) {
        result_.stopped = true;
        break;
      }
      buffer.consume(buffer.size());
    }
    if (!frames_.ended() && !result_.stopped) {
      co_return make_error(Errc::closed, place() + ": exec ended without saying how");
    }
    co_return Result<>();
  }

  const kubernetes::Access& access_;
  const ExecOptions& options_;
  const std::function<bool(std::string_view)>& sink_;
  ExecFrames frames_;
  ExecResult result_;
  std::optional<Error> failure_;

  asio::io_context context_{1};
  asio::ssl::context tls_;
  asio::posix::stream_descriptor stop_{context_};
  websocket::stream<beast::ssl_stream<beast::tcp_stream>> stream_;
};

}  // namespace

Result<ExecResult> exec_in_pod(const kubernetes::Access& access, const ExecTarget& target,
                               const std::vector<std::string>& argv, const ExecOptions& options,
                               const std::function<bool(std::string_view)>& sink) {
  auto tls = kubernetes::make_tls_context(access);
  if (!tls) return tls.error();
  Exec exec(access, options, sink, std::move(*tls));
  return exec.run(target, argv);
}

}  // namespace heddle::tools
