// SPDX-License-Identifier: Apache-2.0
#include "proxy/telemetry/admin.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <charconv>
#include <deque>
#include <mutex>
#include <thread>

#include "base/fd.h"
#include "base/log.h"
#include "proxy/telemetry/query.h"

namespace heddle::proxy {

std::optional<std::string> Readiness::missing() const {
  if (draining) return "draining: a newer proxy serves";
  if (!snapshot) return "waiting for the agent's pods";
  if (!discovery) return "waiting for control's discovery";
  return std::nullopt;
}

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using Socket = asio::generic::stream_protocol::socket;
using HttpStream = beast::basic_stream<asio::generic::stream_protocol>;
using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

constexpr auto idle_limit = std::chrono::seconds(30);
constexpr auto answer_limit = std::chrono::seconds(5);
constexpr auto bind_again = std::chrono::milliseconds(200);
constexpr int max_sessions = 64;
constexpr std::size_t max_tap_lines = 1024;

auto quietly(error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

// What one tap's reader has not read yet; filled by the recording thread.
struct TapQueue {
  explicit TapQueue(asio::io_context& io) : wake(io) {}
  std::mutex mutex;
  std::deque<std::string> lines;
  std::uint64_t dropped = 0;
  bool ended = false;  // the reader hung up
  asio::steady_timer wake;
};

// The way back to the admin thread for answers that may come when the server is gone.
struct Gate {
  explicit Gate(asio::io_context& context) : io(&context) {}
  std::mutex mutex;
  asio::io_context* io;  // null once the server ends
};

// A question to a hook and its answer, whichever thread it comes from. Owned by the session that waits for
// it.
struct Question {
  explicit Question(asio::io_context& io) : timer(io, answer_limit) {}
  asio::steady_timer timer;
  std::optional<std::string> answer;
};

class Server final : public AdminServer {
 public:
  Server(AdminOptions options, MetricsRegistry& registry, const Readiness& readiness, Recorder& recorder,
         AdminHooks hooks)
      : options_(std::move(options)),
        registry_(registry),
        readiness_(readiness),
        recorder_(recorder),
        hooks_(std::move(hooks)),
        unix_(io_),
        tcp_(io_) {}

  ~Server() override {
    {
      const std::lock_guard lock(gate_->mutex);
      gate_->io = nullptr;
    }
    io_.stop();
    if (thread_.joinable()) thread_.join();
    struct stat now{};
    if (inode_ != 0 && ::stat(options_.socket_path.c_str(), &now) == 0 && now.st_ino == inode_) {
      ::unlink(options_.socket_path.c_str());
    }
  }

  Result<> begin();
  std::uint16_t port() const override { return port_; }
  void release_address() override {
    asio::post(io_, [this] {
      released_ = true;
      port_ = 0;
      error_code ignored;
      tcp_.close(ignored);
    });
  }

 private:
  Result<> bind_unix();
  error_code bind_tcp();
  asio::awaitable<void> serve_tcp();
  asio::awaitable<void> serve_unix();
  asio::awaitable<void> session(Socket socket, bool local);
  asio::awaitable<Response> answer(const Request& request, bool local);
  asio::awaitable<Response> ask(const Request& request, std::function<void(AdminHooks::Reply)> hook);
  asio::awaitable<void> tap(HttpStream& stream, const TapFilter& filter);
  static asio::awaitable<void> watch_hang_up(Socket& socket, std::shared_ptr<TapQueue> queue);
  Response metrics(const Request& request);
  Response log_level(const Request& request);

  const AdminOptions options_;
  MetricsRegistry& registry_;
  const Readiness& readiness_;
  Recorder& recorder_;
  const AdminHooks hooks_;
  asio::io_context io_{1};
  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>(io_);
  asio::local::stream_protocol::acceptor unix_;
  asio::ip::tcp::acceptor tcp_;
  ino_t inode_ = 0;
  std::atomic<std::uint16_t> port_{0};
  int sessions_ = 0;
  bool released_ = false;
  std::thread thread_;
};

Response reply(const Request& request, http::status status, std::string body,
               const char* type = "text/plain") {
  Response response(status, request.version());
  response.set(http::field::content_type, type);
  response.keep_alive(request.keep_alive());
  response.body() = std::move(body);
  response.prepare_payload();
  return response;
}

Result<> Server::begin() {
  if (!options_.socket_path.empty()) {
    if (auto bound = bind_unix(); !bound) return bound;
    asio::co_spawn(io_, serve_unix(), asio::detached);
  }
  if (options_.address) {
    const auto error = bind_tcp();
    if (error) {
      spdlog::info(
          "admin address is busy, an older proxy may still drain address={} error=\"{}\" retry_ms={}",
          options_.address->to_string(), error.message(), bind_again.count());
    }
    asio::co_spawn(io_, serve_tcp(), asio::detached);
  }
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "admin");
    const auto work = asio::make_work_guard(io_);
    io_.run();
  });
  return {};
}

// Bound under another name and renamed: there is never a moment without a socket, and the mode is right from
// the beginning (a socket's file gets the mode of the socket).
Result<> Server::bind_unix() {
  const std::string next = options_.socket_path + ".new";
  sockaddr_un address{};
  if (next.size() >= sizeof address.sun_path) {
    return make_error(Errc::invalid_argument,
                      "admin socket " + options_.socket_path + ": the path is too long");
  }
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return make_errno(errno, "admin socket");
  address.sun_family = AF_UNIX;
  next.copy(address.sun_path, next.size());
  ::unlink(next.c_str());
  struct stat made{};
  if (::fchmod(socket.get(), 0600) != 0 ||
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), 16) != 0 || ::stat(next.c_str(), &made) != 0 ||
      ::rename(next.c_str(), options_.socket_path.c_str()) != 0) {
    return make_errno(errno, "admin socket " + options_.socket_path);
  }
  inode_ = made.st_ino;
  unix_.assign(asio::local::stream_protocol(), socket.release());
  return {};
}

error_code Server::bind_tcp() {
  sockaddr_storage storage{};
  const auto length = options_.address->to_sockaddr(storage);
  asio::ip::tcp::endpoint endpoint;
  std::memcpy(endpoint.data(), &storage, length);
  endpoint.resize(length);
  error_code error;
  tcp_.open(endpoint.protocol(), error);
  if (!error) tcp_.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) tcp_.bind(endpoint, error);
  if (!error) tcp_.listen(64, error);
  if (error) {
    error_code ignored;
    tcp_.close(ignored);
    return error;
  }
  port_ = tcp_.local_endpoint(error).port();
  return {};
}

asio::awaitable<void> Server::serve_tcp() {
  asio::steady_timer timer(io_);
  while (port_ == 0) {
    error_code error;
    timer.expires_after(bind_again);
    co_await timer.async_wait(quietly(error));
    if (released_) co_return;
    if (!bind_tcp()) spdlog::info("admin address bound address={}", options_.address->to_string());
  }
  for (;;) {
    error_code error;
    Socket socket(io_);
    co_await tcp_.async_accept(socket, quietly(error));
    if (released_) co_return;
    if (!error && sessions_ < max_sessions) {
      asio::co_spawn(io_, session(std::move(socket), false), asio::detached);
    } else if (error) {  // out of descriptors: they come back
      timer.expires_after(bind_again);
      co_await timer.async_wait(quietly(error));
    }
  }
}

asio::awaitable<void> Server::serve_unix() {
  asio::steady_timer timer(io_);
  for (;;) {
    error_code error;
    Socket socket(io_);
    co_await unix_.async_accept(socket, quietly(error));
    if (!error && sessions_ < max_sessions) {
      asio::co_spawn(io_, session(std::move(socket), true), asio::detached);
    } else if (error) {
      timer.expires_after(bind_again);
      co_await timer.async_wait(quietly(error));
    }
  }
}

struct Counted {
  explicit Counted(int& c) : count(c) { ++count; }
  ~Counted() { --count; }
  int& count;
};

asio::awaitable<void> Server::session(Socket socket, bool local) {
  const Counted counted(sessions_);
  HttpStream stream(std::move(socket));
  beast::flat_buffer buffer(16 * 1024);
  for (;;) {
    error_code error;
    http::request_parser<http::string_body> parser;
    parser.header_limit(8 * 1024);
    parser.body_limit(1024);
    stream.expires_after(idle_limit);
    co_await http::async_read(stream, buffer, parser, quietly(error));
    if (error) co_return;
    const Request request = parser.release();
    Response response;
    if (local && request.method() == http::verb::get && path_of(request.target()) == "/tap") {
      const auto filter = tap_filter(parse_query(request.target()));
      if (filter) {
        co_await tap(stream, *filter);
        co_return;
      }
      response = reply(request, http::status::bad_request, filter.error().detail + "\n");
    } else {
      response = co_await answer(request, local);
    }
    stream.expires_after(idle_limit);
    co_await http::async_write(stream, response, quietly(error));
    if (error || !response.keep_alive()) co_return;
  }
}

asio::awaitable<Response> Server::answer(const Request& request, bool local) {
  const auto path = path_of(request.target());
  const bool get = request.method() == http::verb::get;
  if (get && path == "/live") co_return reply(request, http::status::ok, "live\n");
  if (get && path == "/metrics") co_return metrics(request);
  if (get && path == "/ready") {
    const auto missing = readiness_.missing();
    co_return reply(request, missing ? http::status::service_unavailable : http::status::ok,
                    (missing ? *missing : "ready") + "\n");
  }
  if (!local) {
    co_return reply(request, http::status::not_found, "not here; /metrics, /ready and /live are\n");
  }
  if (path == "/loglevel" || path == "/proxy-log-level") co_return log_level(request);
  if (get && path == "/state" && hooks_.state) co_return co_await ask(request, hooks_.state);
  if (get && path == "/explain" && hooks_.explain) {
    const auto query = parse_query(request.target());
    const auto dst = SocketAddress::parse(query.get("dst"));
    if (!dst || query.get("pod").find('/') == std::string::npos) {
      co_return reply(request, http::status::bad_request, "ask /explain?pod=NAMESPACE/NAME&dst=IP:PORT\n");
    }
    const auto& hook = hooks_.explain;
    const std::string pod = query.get("pod");
    co_return co_await ask(request,
                           [&hook, &pod, &dst](AdminHooks::Reply r) { hook(pod, *dst, std::move(r)); });
  }
  co_return reply(request, http::status::not_found,
                  "known: /metrics /ready /live /state /tap /explain?pod=NS/NAME&dst=IP:PORT /loglevel\n");
}

asio::awaitable<Response> Server::ask(const Request& request, std::function<void(AdminHooks::Reply)> hook) {
  auto question = std::make_shared<Question>(io_);
  hook([gate = gate_, asked = std::weak_ptr<Question>(question)](std::string json) {
    const std::lock_guard lock(gate->mutex);
    if (!gate->io) return;
    asio::post(*gate->io, [asked, json = std::move(json)]() mutable {
      const auto still = asked.lock();
      if (!still) return;
      still->answer = std::move(json);
      still->timer.cancel();
    });
  });
  error_code cancelled;
  co_await question->timer.async_wait(quietly(cancelled));
  if (!question->answer) co_return reply(request, http::status::gateway_timeout, "no answer within 5 s\n");
  co_return reply(request, http::status::ok, *question->answer + "\n", "application/json");
}

Response Server::metrics(const Request& request) {
  const auto accept = request[http::field::accept];
  const bool open = accept.find("application/openmetrics-text") != beast::string_view::npos;
  const auto format = open ? MetricsRegistry::Format::open_metrics : MetricsRegistry::Format::prometheus;
  return reply(request, http::status::ok, registry_.expose(format),
               open ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                    : "text/plain; version=0.0.4; charset=utf-8");
}

Response Server::log_level(const Request& request) {
  if (request.method() == http::verb::put) {
    const std::string name = trimmed(request.body());
    const auto level = spdlog::level::from_str(name);  // "off" for what it does not know
    if (level == spdlog::level::off && name != "off") {
      return reply(request, http::status::bad_request, "use trace, debug, info, warn, error or off\n");
    }
    spdlog::set_level(level);
    spdlog::info("log level changed level={}", name);
  }
  const auto shown = spdlog::level::to_string_view(spdlog::get_level());
  return reply(request, http::status::ok, std::string(shown.data(), shown.size()) + "\n");
}

// Until the reader hangs up. The queue is bounded: a reader that is too slow loses lines and is told how
// many.
asio::awaitable<void> Server::tap(HttpStream& stream, const TapFilter& filter) {
  auto queue = std::make_shared<TapQueue>(io_);
  const auto tapping = recorder_.tap(filter, [&io = io_, queue](const std::string& line) {
    bool first = false;
    {
      const std::lock_guard lock(queue->mutex);
      if (queue->lines.size() >= max_tap_lines) {
        ++queue->dropped;
        return;
      }
      first = queue->lines.empty();
      queue->lines.push_back(line);
    }
    if (first) asio::post(io, [queue] { queue->wake.cancel(); });
  });
  error_code error;
  http::response<http::empty_body> head(http::status::ok, 11);
  head.set(http::field::content_type, "application/x-ndjson");
  head.chunked(true);
  http::response_serializer<http::empty_body> serializer(head);
  stream.expires_never();
  co_await http::async_write_header(stream, serializer, quietly(error));
  asio::co_spawn(io_, watch_hang_up(stream.socket(), queue), asio::detached);
  while (!error && !queue->ended) {
    std::string batch;
    {
      const std::lock_guard lock(queue->mutex);
      for (const auto& line : queue->lines) batch += line;
      queue->lines.clear();
      if (queue->dropped > 0)
        batch += "{\"dropped\":" + std::to_string(std::exchange(queue->dropped, 0)) + "}\n";
      // Armed with the lock held: a line pushed from now on finds an empty queue and cancels this wait.
      queue->wake.expires_after(std::chrono::hours(1));
    }
    if (batch.empty()) {
      error_code woken;
      co_await queue->wake.async_wait(quietly(woken));
      continue;
    }
    stream.expires_after(idle_limit);
    co_await asio::async_write(stream, http::make_chunk(asio::buffer(batch)), quietly(error));
    stream.expires_never();
  }
  queue->ended = true;
  error_code ignored;
  stream.socket().shutdown(asio::socket_base::shutdown_both, ignored);
}

// A tap's reader sends nothing more: whatever can be read is its end. When the session ends first, the
// socket's destruction completes the read with an error, and only the queue is touched.
asio::awaitable<void> Server::watch_hang_up(Socket& socket, std::shared_ptr<TapQueue> queue) {
  error_code error;
  char byte = 0;
  co_await socket.async_read_some(asio::buffer(&byte, 1), quietly(error));
  queue->ended = true;
  queue->wake.cancel();
}

}  // namespace

Result<std::unique_ptr<AdminServer>> AdminServer::start(AdminOptions options, MetricsRegistry& registry,
                                                        const Readiness& readiness, Recorder& recorder,
                                                        AdminHooks hooks) {
  auto server = std::make_unique<Server>(std::move(options), registry, readiness, recorder, std::move(hooks));
  if (auto begun = server->begin(); !begun) return begun.error();
  return std::unique_ptr<AdminServer>(std::move(server));
}

}  // namespace heddle::proxy
