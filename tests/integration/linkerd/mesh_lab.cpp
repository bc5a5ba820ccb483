// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/linkerd/mesh_lab.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <sstream>

#include "base/io/connection.h"
#include "proxy/inbound/inbound.h"
#include "proxy/outbound/outbound.h"
#include "proxy/tls/key.h"

namespace heddle::proxy::test {
namespace {

constexpr std::chrono::seconds patience{10};

bool contains_all(const std::string& line, const std::vector<std::string>& parts) {
  return std::all_of(parts.begin(), parts.end(),
                     [&](const std::string& part) { return line.find(part) != std::string::npos; });
}

}  // namespace

class MeshLab::Entrance final : public IoHandler {
 public:
  Entrance(Worker& worker, std::function<void(SocketAddress, std::unique_ptr<Stream>)> serve)
      : worker_(worker), serve_(std::move(serve)) {
    EXPECT_TRUE(worker_.loop.add(server_.listener.get(), EPOLLIN, *this));
  }
  const SocketAddress& address() const { return server_.address; }
  void on_io(std::uint32_t) override {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    Fd socket(::accept4(server_.listener.get(), reinterpret_cast<sockaddr*>(&from), &size,
                        SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket) return;
    set_connection_options(socket.get());
    serve_(SocketAddress::from(from).value(), make_tcp_stream(worker_.loop, std::move(socket)));
  }

 private:
  Worker& worker_;
  Server server_;
  std::function<void(SocketAddress, std::unique_ptr<Stream>)> serve_;
};

MeshLab::MeshLab(Settings settings)
    : rig_(settings),
      anchors_(tls::parse_trust_anchors(authority.root_pem(), "test").value()),
      tls_(std::make_shared<tls::WorkerTls>(rig_.worker.loop, 256)) {
  ::signal(SIGPIPE, SIG_IGN);
  int ends[2];
  EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  log_reader_.reset(ends[0]);
  log_writer_.reset(ends[1]);
  ::fcntl(log_reader_.get(), F_SETFL, O_NONBLOCK);
  recorder_ = std::make_unique<Recorder>(AccessLogFormat::json, log_writer_.get());
  rig_.worker.telemetry = rig_.registry.make_telemetry(recorder_.get());
  rig_.worker.tls = tls::make_endpoint(tls_);
  rig_.worker.mesh_pool = make_mesh_pool(rig_.worker);
  rig_.worker.http_pool = make_http_pool(rig_.worker);
  thread_ = std::thread([this] { rig_.worker.loop.run(); });
}

MeshLab::~MeshLab() {
  run([this] {
    rig_.worker.connections->abort_all();
    rig_.worker.loop.defer([this] { rig_.worker.loop.stop(); });
  });
  thread_.join();
  entrances_.clear();
  rig_.worker.connections.reset();
  rig_.worker.http_pool.reset();
  rig_.worker.mesh_pool.reset();
  rig_.worker.telemetry.reset();
}

void MeshLab::run(const std::function<void()>& task) {
  std::promise<void> done;
  rig_.worker.loop.post([&] {
    task();
    done.set_value();
  });
  done.get_future().wait();
}

bool MeshLab::eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + patience;
  bool holds = false;
  do {
    run([&] { holds = condition(); });
  } while (!holds && std::chrono::steady_clock::now() < end);
  return holds;
}

PodRef MeshLab::add_pod(std::uint32_t id, const char* ip, const std::function<void(Pod&)>& change) {
  PodRef pod;
  run([&] {
    pod = rig_.add_pod(id, ip, change);
    const auto key = tls::make_key().value();
    Authority::Leaf leaf;
    leaf.names = {pod->identity};
    const std::string der = authority.sign(tls::make_request(key, pod->identity).value(), leaf);
    tls_->contexts[pod->identity] = tls::make_context(pod->identity, key, der, {}, anchors_).value();
  });
  return pod;
}

void MeshLab::remove_pod(const PodRef& pod) {
  run([&] {
    rig_.pods->remove(pod->id, pod->netns_cookie);
    rig_.dialer->pod_removed(pod->id);
    rig_.worker.connections->abort_all(pod->id);
    rig_.worker.mesh_pool->forget(pod->id);
    rig_.worker.http_pool->forget(pod->id);
  });
}

PodRef MeshLab::change_pod(const PodRef& pod, const std::function<void(Pod&)>& change) {
  auto changed = std::make_shared<Pod>(*pod);
  change(*changed);
  run([&] {
    rig_.pods->upsert(changed);
    rig_.worker.connections->policy_changed(changed);
  });
  return changed;
}

SocketAddress MeshLab::listen(std::function<void(SocketAddress, std::unique_ptr<Stream>)> serve) {
  SocketAddress address;
  run([&] {
    entrances_.push_back(std::make_unique<Entrance>(rig_.worker, std::move(serve)));
    address = entrances_.back()->address();
  });
  return address;
}

SocketAddress MeshLab::listen_inbound(PodRef pod, std::uint16_t port) {
  return listen([this, pod, port](SocketAddress client, std::unique_ptr<Stream> stream) {
    serve_inbound(rig_.worker, pod, client, {pod->ips[0], port}, std::move(stream));
  });
}

SocketAddress MeshLab::listen_outbound(PodRef pod, SocketAddress original_dst) {
  return listen([this, pod, original_dst](SocketAddress client, std::unique_ptr<Stream> stream) {
    serve_outbound(rig_.worker, pod, client, original_dst, std::move(stream));
  });
}

void MeshLab::discover(SocketAddress original_dst, std::vector<EndpointInfo> endpoints, bool opaque) {
  run([&] {
    auto service = std::make_shared<Destination>(1);
    service->state = Destination::State::service;
    service->address = original_dst;
    service->authority = "web.linkerd-shop.svc.cluster.local:" + std::to_string(original_dst.port);
    service->opaque = opaque;
    service->balancer.update(endpoints);
    rig_.directory->known[original_dst] = service;
  });
}

Authority::Pair MeshLab::certificate(const std::string& name) {
  Authority::Leaf leaf;
  leaf.names = {name};
  return authority.issue(leaf);
}

PeerTls MeshLab::linkerd_client(const PodRef& to, std::vector<std::string> alpn) {
  return {authority.root_pem(), certificate(stranger), to->identity, std::move(alpn), {}, false};
}

PeerTls MeshLab::linkerd_server(const std::string& identity, std::vector<std::string> alpn) {
  return {authority.root_pem(), certificate(identity), {}, std::move(alpn), {}, false};
}

double MeshLab::metric(const std::string& name, const std::vector<std::string>& labels) {
  std::istringstream text(rig_.registry.expose(MetricsRegistry::Format::prometheus));
  for (std::string line; std::getline(text, line);) {
    if (!line.starts_with(name + "{") || !contains_all(line, labels)) continue;
    return std::stod(line.substr(line.rfind(' ') + 1));
  }
  return -1;
}

void MeshLab::read_log() {
  char buffer[4096];
  while (true) {
    const ssize_t n = ::read(log_reader_.get(), buffer, sizeof buffer);
    if (n <= 0) return;
    log_.append(buffer, static_cast<std::size_t>(n));
  }
}

std::string MeshLab::logged(const std::vector<std::string>& parts, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  do {
    read_log();
    std::istringstream text(log_);
    for (std::string line; std::getline(text, line);) {
      if (contains_all(line, parts)) return line;
    }
  } while (std::chrono::steady_clock::now() < end);
  return {};
}

}  // namespace heddle::proxy::test
