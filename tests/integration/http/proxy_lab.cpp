// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/http/proxy_lab.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <future>

#include "base/fd.h"
#include "base/io/connection.h"
#include "proxy/http/serve.h"
#include "proxy/io/tcp_stream.h"
#include "tests/support/eventually.h"

namespace heddle::proxy {
namespace {

// Connects with sockets of this process.
class PlainDialer final : public Dialer {
 public:
  PlainDialer(Loop& loop, const std::map<SocketAddress, SocketAddress>* redirects)
      : loop_(loop), redirects_(redirects) {}

  struct Dial final : Pending, StreamEvents {
    Done done;
    std::unique_ptr<TcpStream> stream;
    std::shared_ptr<Dial*> self = std::make_shared<Dial*>(this);
    Loop& loop;
    int error = 0;
    explicit Dial(Loop& on) : loop(on) {}
    ~Dial() override { *self = nullptr; }
    void on_readable() override { finish(); }
    void on_writable() override { finish(); }
    void finish() {
      if (!done) return;
      if (stream) {
        stream->set_events(nullptr);
        socklen_t size = sizeof error;
        ::getsockopt(stream->descriptor(), SOL_SOCKET, SO_ERROR, &error, &size);
      }
      loop.defer([alive = self] {
        if (*alive == nullptr) return;
        Dial& dial = **alive;
        const Done told = std::move(dial.done);
        if (dial.error != 0) return told(make_errno(dial.error, "connect"));
        told(std::unique_ptr<Stream>(std::move(dial.stream)));
      });
    }
  };

  std::unique_ptr<Pending> dial(DialRequest request, Done done) override {
    auto dial = std::make_unique<Dial>(loop_);
    dial->done = std::move(done);
    if (redirects_ != nullptr) {
      if (const auto other = redirects_->find(request.to); other != redirects_->end())
        request.to = other->second;
    }
    sockaddr_storage address{};
    const socklen_t size = request.to.to_sockaddr(address);
    Fd socket(::socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    set_connection_options(socket.get());
    const int result = ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), size);
    if (result != 0 && errno != EINPROGRESS) {
      dial->error = errno;
      dial->finish();
      return dial;
    }
    dial->stream = std::make_unique<TcpStream>(loop_, std::move(socket), SocketOrigin{});
    dial->stream->set_events(dial.get());
    return dial;
  }

 private:
  Loop& loop_;
  const std::map<SocketAddress, SocketAddress>* redirects_;
};

}  // namespace

// No TLS at all: says that it was done.
class PretendTls final : public tls::Endpoint {
 public:
  PretendTls(ProxyLab& lab, Loop& loop) : lab_(lab), loop_(loop) {}
  struct Pending final : tls::Handshake {
    std::shared_ptr<bool> alive = std::make_shared<bool>(true);
    ~Pending() override { *alive = false; }
  };
  std::unique_ptr<tls::Handshake> connect(std::unique_ptr<Stream> stream, PodRef, std::string expected,
                                          std::string, std::vector<std::string>, std::chrono::milliseconds,
                                          tls::Done done) override {
    auto pending = std::make_unique<Pending>();
    auto shared = std::make_shared<std::unique_ptr<Stream>>(std::move(stream));
    loop_.defer([this, shared, expected, done, alive = pending->alive] {
      if (*alive) done(tls::Established{std::move(*shared), {expected, lab_.alpn, {}}});
    });
    return pending;
  }
  std::unique_ptr<tls::Handshake> accept(std::unique_ptr<Stream>, PodRef, const IpAddress&,
                                         std::vector<std::string>, std::chrono::milliseconds,
                                         tls::Done) override {
    return nullptr;
  }
  bool certified(const Pod&) const override { return true; }
  std::size_t closing() const override { return 0; }

 private:
  ProxyLab& lab_;
  Loop& loop_;
};

class ProxyLab::Acceptor final : public IoHandler {
 public:
  Acceptor(Worker& worker, Fd socket, Serve serve)
      : worker_(worker), socket_(std::move(socket)), serve_(std::move(serve)) {
    (void)worker_.loop.add(socket_.get(), EPOLLIN | EPOLLET, *this).has_value();
  }
  void on_io(std::uint32_t) override {
    while (true) {
      sockaddr_storage from{};
      socklen_t size = sizeof from;
      Fd accepted(
          ::accept4(socket_.get(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!accepted) return;
      set_connection_options(accepted.get());
      serve_(worker_, SocketAddress::from(from).value(), make_tcp_stream(worker_.loop, std::move(accepted)));
    }
  }

 private:
  Worker& worker_;
  Fd socket_;
  Serve serve_;
};

namespace {

std::unique_ptr<Worker> make_worker(ProxyLab& lab, unsigned index, const Settings& settings) {
  auto worker = std::make_unique<Worker>(index, settings);
  worker->dialer = std::make_unique<PlainDialer>(worker->loop, index == 1 ? &lab.redirects : nullptr);
  worker->tls = std::make_unique<PretendTls>(lab, worker->loop);
  worker->mesh_pool = make_mesh_pool(*worker);
  worker->http_pool = make_http_pool(*worker);
  worker->connections = std::make_unique<ConnectionSet>(*worker);
  return worker;
}

PodRef make_pod(std::uint32_t id, const std::string& name) {
  auto pod = std::make_shared<Pod>();
  pod->id = id;
  pod->ns = "test";
  pod->name = name;
  pod->ips = {IpAddress::v4(0x7f000001)};
  pod->identity = name + ".test.serviceaccount.identity.heddle.cluster.local";
  return pod;
}

}  // namespace

ProxyLab::ProxyLab() : client_pod(make_pod(1, "client")), server_pod(make_pod(2, "server")) {
  client_ = make_worker(*this, 0, settings);
  server_ = make_worker(*this, 1, settings);
  thread_ = std::thread([this] { client_->loop.run(); });
  other_thread_ = std::thread([this] { server_->loop.run(); });
}

ProxyLab::~ProxyLab() {
  for (Worker* worker : {client_.get(), server_.get()}) {
    worker->loop.post([worker] {
      worker->connections->abort_all();
      worker->loop.defer([worker] { worker->loop.stop(); });
    });
  }
  thread_.join();
  other_thread_.join();
  acceptors_.clear();
}

void ProxyLab::run(const std::function<void()>& task) {
  std::promise<void> done;
  client_->loop.post([&] {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

SocketAddress ProxyLab::listen(Worker& worker, Serve serve) {
  SocketAddress address{IpAddress::v4(0x7f000001), 0};
  sockaddr_storage storage{};
  socklen_t size = address.to_sockaddr(storage);
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0 ||
      ::listen(socket.get(), 4096) != 0)
    throw std::runtime_error("cannot listen");
  size = sizeof storage;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&storage), &size);
  std::promise<void> done;
  worker.loop.post([&] {
    acceptors_.push_back(std::make_unique<Acceptor>(worker, std::move(socket), std::move(serve)));
    done.set_value();
  });
  done.get_future().wait();
  return SocketAddress::from(storage).value();
}

SocketAddress ProxyLab::listen_outbound(DestinationRef destination, Protocol protocol) {
  return listen(*client_, [this, destination, protocol](Worker& worker, SocketAddress from, auto stream) {
    serve_outbound_http(worker, {client_pod, from, destination}, protocol, std::move(stream));
  });
}

SocketAddress ProxyLab::listen_mesh(SocketAddress app, TlsState tls) {
  auto own = std::make_shared<SocketAddress>();
  *own = listen(*server_, [this, own, tls](Worker& worker, SocketAddress from, auto stream) {
    InboundConnection connection{server_pod, from, *own, tls,
                                 tls == TlsState::mutual ? client_pod->identity : ""};
    serve_inbound_mesh(worker, std::move(connection), std::move(stream));
  });
  redirects[*own] = app;
  return *own;
}

namespace {

struct SwitchingApp final : StreamEvents {
  explicit SwitchingApp(std::unique_ptr<Stream> taken) : stream(std::move(taken)) {
    stream->set_events(this);
  }
  void on_readable() override {
    std::array<char, 4096> buffer;
    while (stream) {
      const IoResult result = stream->read(std::as_writable_bytes(std::span(buffer)));
      if (result.status == IoStatus::eof) stream->finish_writes();
      if (result.status != IoStatus::ok) return;
      std::string text(buffer.data(), result.size);
      if (!switched) {
        head += text;
        const std::size_t end = head.find("\r\n\r\n");
        if (end == std::string::npos) continue;
        switched = true;
        text = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n" +
               head.substr(end + 4);
      }
      const iovec part{text.data(), text.size()};
      (void)stream->write(std::span(&part, 1));
    }
  }
  void on_writable() override {}
  std::unique_ptr<Stream> stream;
  std::string head;
  bool switched = false;
};

class OnePod final : public PodTable {
 public:
  explicit OnePod(PodRef pod) : pod_(std::move(pod)) {}
  PodRef by_address(const IpAddress&) const override { return pod_; }
  PodRef by_id(std::uint32_t) const override { return pod_; }

 private:
  PodRef pod_;
};

}  // namespace

SocketAddress ProxyLab::listen_switching_app() {
  auto apps = std::make_shared<std::vector<std::unique_ptr<SwitchingApp>>>();
  return listen(*server_, [apps](Worker&, SocketAddress, auto stream) {
    apps->push_back(std::make_unique<SwitchingApp>(std::move(stream)));
  });
}

void ProxyLab::join_locally() {
  run([this] { client_->pods = std::make_unique<OnePod>(server_pod); });
}

SocketAddress ProxyLab::listen_inbound(SocketAddress app, Protocol protocol) {
  return listen(*server_, [this, app, protocol](Worker& worker, SocketAddress from, auto stream) {
    serve_inbound_http(worker, {server_pod, from, app, TlsState::none, ""}, protocol, std::move(stream));
  });
}

DestinationRef ProxyLab::plain(SocketAddress to) {
  auto destination = std::make_shared<Destination>(1);
  destination->state = Destination::State::endpoint;
  destination->address = to;
  destination->authority = to.to_string();
  EndpointInfo info;
  info.address = to;
  destination->endpoint = std::make_shared<Endpoint>(info);
  return destination;
}

DestinationRef ProxyLab::meshed(std::vector<SocketAddress> to) {
  auto destination = std::make_shared<Destination>(1);
  destination->state = Destination::State::service;
  destination->address = to.front();
  destination->authority = "web.test.svc.cluster.local:80";
  std::vector<EndpointInfo> infos;
  for (const SocketAddress& address : to) {
    EndpointInfo info;
    info.address = address;
    info.identity = server_pod->identity;
    info.hint = ProtocolHint::h2;
    infos.push_back(info);
  }
  destination->balancer.update(infos);
  return destination;
}

std::uint16_t free_port() {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_storage storage{};
  socklen_t size = SocketAddress{IpAddress::v4(0x7f000001), 0}.to_sockaddr(storage);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&storage), size) != 0) return 0;
  size = sizeof storage;
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&storage), &size);
  return SocketAddress::from(storage).value().port;
}

Ran run_command(const std::string& command) {
  Ran ran;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return ran;
  std::array<char, 4096> buffer;
  std::size_t got = 0;
  while ((got = ::fread(buffer.data(), 1, buffer.size(), pipe)) > 0) ran.out.append(buffer.data(), got);
  const int status = ::pclose(pipe);
  ran.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

Nginx::Nginx(const std::string& server_body, const std::string& listen_extra) {
  static std::atomic<int> number{0};
  folder_ = std::filesystem::temp_directory_path() /
            ("heddle-http-" + std::to_string(::getpid()) + "-" + std::to_string(number++));
  std::filesystem::create_directories(folder_);
  address_ = {IpAddress::v4(0x7f000001), free_port()};
  std::ofstream(folder_ + "/nginx.conf")
      << "daemon off; master_process off; worker_processes 1; pid " << folder_ << "/pid; error_log "
      << folder_
      << "/error.log; events { worker_connections 4096; }\nhttp { access_log off; client_body_temp_path "
      << folder_ << "/body; proxy_temp_path " << folder_ << "/proxy; fastcgi_temp_path " << folder_
      << "/f; uwsgi_temp_path " << folder_ << "/u; scgi_temp_path " << folder_
      << "/s; keepalive_requests 1000000; client_max_body_size 0; "
      << "server { listen " << address_.to_string() << " " << listen_extra << " backlog=4096; root "
      << folder_ << "; " << server_body << " } }\n";
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::execlp("nginx", "nginx", "-c", (folder_ + "/nginx.conf").c_str(), "-p", folder_.c_str(), nullptr);
    ::_exit(127);
  }
  // Ready when it accepts.
  EXPECT_TRUE(test::eventually([this] {
    Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_storage storage{};
    const socklen_t size = address_.to_sockaddr(storage);
    return ::connect(socket.get(), reinterpret_cast<sockaddr*>(&storage), size) == 0;
  })) << "nginx accepts nobody at "
      << address_.to_string();
}

Nginx::~Nginx() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

}  // namespace heddle::proxy
